@echo off
rem win-acme's installation script: certhook looks at once, and says what went wrong.
rem Install: wacs.exe ... --store pemfiles,pfxfile --installation script --script "C:\Program Files\certhook\hooks\win-acme.cmd"
setlocal
rem CERTHOOK is for tests.
if not defined CERTHOOK set "CERTHOOK=%ProgramFiles%\certhook\certhook.exe"
rem Where there is no certhook, or nothing is configured yet, all is well.
if not exist "%CERTHOOK%" exit /b 0
"%CERTHOOK%" check --config-only >nul 2>&1 <nul
if %errorlevel%==1 exit /b 0
"%CERTHOOK%" sync --wait 60s <nul
exit /b %errorlevel%
