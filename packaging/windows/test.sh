#!/bin/bash
# Builds certhook for Windows on this machine and runs its tests under wine in a fresh prefix. At the end it lists what
# was left out, each with its reason, and prints: N passed, N failed, N skipped
# With --if-possible it says so and goes on where the parts cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

refused() {
    echo "certhook for Windows was NOT tested: $1" >&2
    [ "$possibly" = yes ] && exit 0
    exit 1
}
possibly=no
[ "${1-}" != --if-possible ] || possibly=yes

[ "$(uname -m)" = x86_64 ] || refused "wine runs on x86_64 only"
packaging/windows/tools.sh || refused 'a C compiler for Windows and wine cannot be installed here'
environment=$(packaging/windows/std.sh) || refused "Rust's library for Windows cannot be made here"
eval "$environment"

work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml='
# shellcheck disable=SC2317 # the trap calls it
end() {
    /usr/lib/wine/wineserver64 -k >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM HUP

# Of wine's many certificates each client would read all, each time.
awk '/BEGIN CERTIFICATE/ { count++ } count == 1' /etc/ssl/certs/ca-certificates.crt >"$work/root.pem"
# What is tested is computed a lot, and wine is slow enough.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
# Most of the time they wait for wine.
export RUST_TEST_THREADS=8
# Beside what is built for this system: neither makes the other build anew.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/windows
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=/usr/lib/wine/wine64

packaging/windows/prefix.sh "$WINEPREFIX" &
prefix=$!
cargo test --quiet --package certhook --lib --bins --test windows --no-run
# Beside the compiler wine may take longer than it waits for itself.
wait $prefix || {
    rm -rf "$WINEPREFIX"
    packaging/windows/prefix.sh "$WINEPREFIX" || { echo "wine cannot make a prefix here" >&2; exit 1; }
}

status=0
run() {
    timeout 600 cargo test --package certhook "$@" -- --show-output >"$work/out" 2>"$work/err" || {
        status=1
        cat "$work/out" "$work/err"
    }
    cat "$work/out" >>"$work/all"
}
SSL_CERT_FILE=$work/root.pem run --lib
# The programs themselves use wine's store, as they would Windows'.
run --test windows
cargo clippy --quiet --package certhook --lib --bins --test windows -- -D warnings || status=1

# Tests that are compiled for Unix alone have their reason beside the line that says so.
unix_alone() {
    grep -rn --include='*.rs' -A4 '#\[cfg(unix)\] // ' src | awk '
        /#\[cfg\(unix\)\] \/\/ / { why = $0; sub(/.*#\[cfg\(unix\)\] \/\/ /, "", why) }
        / fn / && why { name = $0; sub(/.* fn /, "", name); sub(/\(.*/, "", name); file = $0; sub(/\.rs.*/, ".rs", file)
            printf "  %s: %s: %s\n", file, name, why; why = "" }'
    grep -rn --include='*.rs' '^#!\[cfg(unix)\] // ' src | sed -E 's/^([^:]*):[0-9]+:#!\[cfg\(unix\)\] \/\/ (.*)/  \1: all: \2/'
}

sum() { grep '^test result:' "$work/all" | sed -E "s/.* ([0-9]+) $1.*/\1/" | awk '{ sum += $1 } END { print sum + 0 }'; }
skipped=$(grep -h '^SKIPPED ' "$work/all" | sort -u || true)
ignored=$(grep -hE '^test .* \.\.\. ignored' "$work/all" | sed -E 's/^test ([^ ]*) \.\.\. ignored,? ?(.*)/  \1: \2/' | sort -u || true)
in_part=$(printf '%s\n' "$skipped" | sed -E 's/^SKIPPED ([^ ]*): .*/\1/' | sort -u | grep -c . || true)
echo
echo "Not built for Windows, with what is Unix's alone:"
unix_alone
echo '  src/server/nginx: all: nginx'
echo '  src/watch/tests/inotify.rs: all: events of inotify; Windows has its own'
echo
echo 'Skipped, whole or from there on, because wine cannot prove it:'
printf '%s\n' "$skipped" | sed 's/^SKIPPED /  /'
echo 'Skipped on Windows:'
printf '%s\n' "$ignored"
echo
echo "$(($(sum passed) - in_part)) passed, $(sum failed) failed, $(($(sum ignored) + in_part)) skipped"
exit $status
