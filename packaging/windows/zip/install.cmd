@echo off
rem Installs certhook as a service, or a newer one in its place: in an elevated prompt, from the unpacked folder.
rem What is configured stays as it is. Only the system and administrators may read it: "service install" sees to that,
rem and that nobody else has put anything there; before it has, nothing there is used.
setlocal
set "program=%ProgramFiles%\certhook"
set "data=%ProgramData%\certhook"
set ran=
set why=

if not exist "%program%\hooks" mkdir "%program%\hooks"
if not exist "%program%\hooks" goto refused
rem Not every command below says that it went well.
cmd /d /c exit 0
rem What fails here fails beside a service that runs.
copy /y "%~dp0certhook.exe" "%program%\certhook.exe.new" >nul
if errorlevel 1 goto refused

sc query certhook >nul 2>&1
if errorlevel 1 goto stopped
sc query certhook | find "STOPPED" >nul 2>&1
if not errorlevel 1 goto stopped
set ran=yes
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
rem Also a program that runs may be renamed, as where a hook calls it.
set "why=%program%\certhook.exe cannot be replaced: see which program has it open"
if not exist "%program%\certhook.exe" goto place
move /y "%program%\certhook.exe" "%program%\certhook.exe.old" >nul 2>&1
if exist "%program%\certhook.exe" goto again
:place
move /y "%program%\certhook.exe.new" "%program%\certhook.exe" >nul 2>&1
if not exist "%program%\certhook.exe" goto back

set "why=The service cannot be made: see above"
"%program%\certhook.exe" service install
if errorlevel 1 goto back
icacls "%data%" /setowner "*S-1-5-32-544" /q >nul
copy /y "%~dp0README.txt" "%program%\README.txt" >nul
copy /y "%~dp0uninstall.cmd" "%program%\uninstall.cmd" >nul
copy /y "%~dp0hooks\win-acme.cmd" "%program%\hooks\win-acme.cmd" >nul
copy /y "%~dp0hooks\certify.cmd" "%program%\hooks\certify.cmd" >nul

if exist "%data%\certhook.toml" goto configured
copy "%~dp0certhook.toml" "%data%\certhook.toml" >nul
goto configure
:configured
cmd /d /c exit 0
"%program%\certhook.exe" check --config-only >nul 2>&1
if errorlevel 1 goto unfit
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
if exist "%program%\certhook.exe.old" del /q "%program%\certhook.exe.old" >nul 2>&1
echo certhook runs. See: "%program%\certhook.exe" status
exit /b 0

:unfit
if not defined ran goto configure
"%program%\certhook.exe" check --config-only
set "why=This version refuses %data%\certhook.toml, see above: edit it"
goto back

:configure
if exist "%program%\certhook.exe.old" del /q "%program%\certhook.exe.old" >nul 2>&1
echo Edit "%data%\certhook.toml", then: "%program%\certhook.exe" check, and: sc start certhook
exit /b 0

:broken
echo The service does not start, or ends at once: see "%program%\certhook.exe" check, and the event log.
exit /b 1

:running
del /q "%program%\certhook.exe.new" >nul 2>&1
echo The service that is installed was told to stop and has not within a minute: nothing was replaced.
echo See: sc query certhook; where it has stopped since: sc start certhook, or run this again.
exit /b 1

:back
if not exist "%program%\certhook.exe.old" goto again
move /y "%program%\certhook.exe.old" "%program%\certhook.exe" >nul 2>&1
:again
if exist "%program%\certhook.exe.new" del /q "%program%\certhook.exe.new" >nul 2>&1
echo %why%; then run this again.
if not defined ran exit /b 1
cmd /d /c exit 0
sc start certhook >nul 2>&1
if errorlevel 1 goto down
echo The version that ran before was started again.
exit /b 1
:down
echo THE SERVICE DOES NOT RUN ANY MORE, and the version before does not start: see sc query certhook.
exit /b 1

:refused
if exist "%program%\certhook.exe.new" del /q "%program%\certhook.exe.new" >nul 2>&1
echo Nothing can be written to "%program%", and nothing was changed: run this in an elevated prompt.
exit /b 1
