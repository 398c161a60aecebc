@echo off
rem Installs certhook as a service, or a newer one in its place: in an elevated prompt, from the unpacked folder.
rem What is configured stays as it is. /inheritance:r: only the system and administrators may read what is there.
setlocal
set "program=%ProgramFiles%\certhook"
set "data=%ProgramData%\certhook"

sc query certhook >nul 2>&1
if errorlevel 1 goto stopped
sc stop certhook >nul 2>&1
set tries=0
:wait
sc query certhook | find "STOPPED" >nul 2>&1
if not errorlevel 1 goto stopped
set /a tries+=1
if %tries% geq 60 goto running
ping -n 2 127.0.0.1 >nul 2>&1
goto wait
:stopped
rem Not every command below says that it went well.
cmd /d /c exit 0

if not exist "%program%\hooks" mkdir "%program%\hooks"
if not exist "%program%\hooks" goto refused
copy /y "%~dp0certhook.exe" "%program%\certhook.exe" >nul
if errorlevel 1 goto refused
copy /y "%~dp0README.txt" "%program%\README.txt" >nul
copy /y "%~dp0uninstall.cmd" "%program%\uninstall.cmd" >nul
copy /y "%~dp0hooks\win-acme.cmd" "%program%\hooks\win-acme.cmd" >nul
copy /y "%~dp0hooks\certify.cmd" "%program%\hooks\certify.cmd" >nul

if not exist "%data%" mkdir "%data%"
if not exist "%data%" goto refused
icacls "%data%" /setowner "*S-1-5-32-544" /q >nul
if errorlevel 1 goto refused
icacls "%data%" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" /q >nul
if errorlevel 1 goto refused
set new=
if not exist "%data%\certhook.toml" set new=yes
if defined new copy "%~dp0certhook.toml" "%data%\certhook.toml" >nul

"%program%\certhook.exe" service install
if errorlevel 1 exit /b 1
if defined new goto configure
"%program%\certhook.exe" check --config-only >nul 2>&1
if errorlevel 1 goto configure
sc start certhook >nul
if errorlevel 1 goto broken
rem That it was started does not say that it went on.
set tries=0
:starting
sc query certhook | find "STOPPED" >nul 2>&1
if not errorlevel 1 goto broken
sc query certhook | find "RUNNING" >nul 2>&1
if not errorlevel 1 goto runs
set /a tries+=1
if %tries% geq 60 goto broken
ping -n 2 127.0.0.1 >nul 2>&1
goto starting
:runs
echo certhook runs. See: "%program%\certhook.exe" status
exit /b 0

:configure
echo Edit "%data%\certhook.toml", then: "%program%\certhook.exe" check, and: sc start certhook
exit /b 0

:broken
echo The service does not start, or ends at once: see "%program%\certhook.exe" check, and the event log.
exit /b 1

:running
echo The service that is installed does not stop: nothing was changed.
exit /b 1

:refused
echo Nothing can be written to "%program%" or "%data%": run this in an elevated prompt.
exit /b 1
