#!/bin/sh
# Builds what stands for HTTP.sys, appcmd and netsh in tests: fakes.sh FOLDER
set -eu
mkdir -p "$1"
of=$(dirname "$0")/../../tests/windows/fakes
cc='x86_64-w64-mingw32-gcc -O1 -s -Wall -Wextra -Werror'
$cc -shared -o "$1/httpapi.dll" "$of/httpapi.c"
$cc -shared -DOLD -o "$1/httpapi-old.dll" "$of/httpapi.c"
$cc -o "$1/program.exe" "$of/program.c"
