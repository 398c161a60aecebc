@echo off
rem Certify The Web's task after a renewal: certhook looks at once, and says what went wrong.
rem Install: Tasks, Deployment Tasks, Run Script: C:\Program Files\certhook\hooks\certify.cmd, launched as a new process
setlocal
rem CERTHOOK is for tests.
if not defined CERTHOOK set "CERTHOOK=%ProgramFiles%\certhook\certhook.exe"
rem Where there is no certhook, or nothing is configured yet, all is well.
if not exist "%CERTHOOK%" exit /b 0
"%CERTHOOK%" check --config-only >nul 2>&1 <nul
if %errorlevel%==1 exit /b 0
"%CERTHOOK%" sync --wait 60s <nul
exit /b %errorlevel%
