@echo off
rem Removes the service and the program, in an elevated prompt. %ProgramData%\certhook, with the configuration and the
rem ledger, stays: delete it by hand where nothing of it is wanted any more.
setlocal
set "program=%ProgramFiles%\certhook"
if not exist "%program%\certhook.exe" echo There is no "%program%\certhook.exe".& exit /b 0
sc query certhook >nul 2>&1
rem Somebody may have removed the service already.
if errorlevel 1 goto removed
"%program%\certhook.exe" service uninstall
if errorlevel 1 exit /b 1
:removed
del "%program%\certhook.exe" "%program%\README.txt"
rem What an upgrade that was cut short left.
for %%f in (old new) do if exist "%program%\certhook.exe.%%f" del "%program%\certhook.exe.%%f"
rmdir /s /q "%program%\hooks"
echo certhook is removed; "%ProgramData%\certhook" and this file stay: delete them where nobody wants them any more.
