# What the hooks have in common; read by them, not run. A hook names its tool and the certificate, and gets
# certhook's exit code: 0 also where there is no certhook, or nothing is configured yet.
# shellcheck shell=sh

# served TOOL CERTIFICATE
served() {
    # CERTHOOK is for tests.
    certhook=$(command -v "${CERTHOOK:-/usr/bin/certhook}" || command -v "${CERTHOOK:-certhook}") || return 0
    code=0
    "$certhook" check --config-only >/dev/null 2>&1 </dev/null || code=$?
    [ "$code" -ne 1 ] || return 0
    code=0
    said=$("$certhook" sync --wait 60s 2>&1 </dev/null) || code=$?
    [ "$code" -eq 0 ] ||
        printf 'certhook, called by %s for %s: something is not well (exit code %s)\n%s\n' "$1" "$2" "$code" "$said" >&2
    return "$code"
}
