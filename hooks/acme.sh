#!/bin/sh
# acme.sh's reload command: certhook looks at once, and acme.sh tells what went wrong.
# Install: acme.sh --install-cert -d NAME --key-file … --fullchain-file … --reloadcmd /etc/certhook/hooks/acme.sh
# (what is there does nothing once certhook was removed, where this file would be missed)
set -u
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
# The certificate and the time of its next renewal are saved before this: a failure is told as "Reload error",
# and newer ones install the same files again at the next cron. Nothing is issued again.
served acme.sh "${Le_Domain:-an unknown name} (${CERT_FULLCHAIN_PATH:-${CERT_PATH:-no file}})"
