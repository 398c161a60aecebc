#!/bin/sh
# Makes a wine prefix in which certhook's tests can run: prefix.sh FOLDER
set -eu
WINEPREFIX=$1
export WINEPREFIX WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml='
wine=/usr/lib/wine/wine64
"$wine" wineboot -i >/dev/null 2>&1
"$wine" winecfg -v win10 >/dev/null 2>&1
x86_64-w64-mingw32-gcc -O1 -s -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
    "$(dirname "$0")/bcryptprimitives.c" -ladvapi32
# What stands for HTTP.sys and for Windows's programs.
fakes=$WINEPREFIX/drive_c/fakes
"$(dirname "$0")/fakes.sh" "$fakes"
cp "$fakes/httpapi.dll" "$WINEPREFIX/drive_c/windows/system32/"
"$wine" reg add 'HKCU\Software\Wine\DllOverrides' /v httpapi /d native,builtin /f >/dev/null 2>&1
