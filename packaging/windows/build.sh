#!/bin/bash
# Builds certhook.exe as it is shipped, and prints where it is. CERTHOOK_PACKAGE_PROFILE=quick is for tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${CERTHOOK_PACKAGE_PROFILE:-release}
packaging/windows/tools.sh
environment=$(packaging/windows/std.sh)
eval "$environment"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/windows
# The same commit gives the same bytes: no folder of this machine's.
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH
registry=${CARGO_HOME:-$HOME/.cargo}
flags=$CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="$flags --remap-path-prefix=$PWD=/certhook --remap-path-prefix=$registry=/cargo -Clink-arg=-Wl,--no-insert-timestamp"
export CFLAGS_x86_64_pc_windows_gnu="-ffile-prefix-map=$PWD=/certhook -ffile-prefix-map=$registry=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target"
cargo build --quiet --locked --package certhook --profile "$profile" --bin certhook >&2
program=$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/$profile/certhook.exe
# Whatever else it wants would have to be shipped beside it.
foreign=$(x86_64-w64-mingw32-objdump -p "$program" | sed -n 's/.*DLL Name: //p' | tr '[:upper:]' '[:lower:]' |
    grep -vE '^(advapi32|bcrypt|bcryptprimitives|crypt32|kernel32|kernelbase|msvcrt|ncrypt|ntdll|ole32|secur32|shell32|userenv|user32|wer|ws2_32|winhttp|httpapi|api-ms-.*)\.dll$' || true)
if [ -n "$foreign" ]; then
    echo "$program wants libraries that not every Windows has: $foreign" >&2
    exit 1
fi
echo "$program"
