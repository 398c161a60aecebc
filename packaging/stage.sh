#!/bin/sh
# Lays out what packages hold, alike for all of them: stage.sh PROGRAM FOLDER
# What others make (man pages, completions, hooks, the sample) is taken where it is there.
set -eu
usage='usage: stage.sh PROGRAM FOLDER'
program=$(readlink -f "${1:?$usage}")
root=$(readlink -m "${2:?$usage}")
cd "$(dirname "$0")/.."

rm -rf "$root"
# put MODE FILE PLACE: folders as everybody's are.
put() { (umask 022; mkdir -p "$root$(dirname "$3")"); install -m "$1" "$2" "$root$3"; }

put 755 "$program" /usr/bin/certhook
put 640 packaging/certhook.toml /etc/certhook/certhook.toml
# Nobody lists it, and whoever renews certificates as another user than root can call what is in hooks.
chmod 751 "$root/etc/certhook"

units=/usr/lib/systemd/system
for unit in packaging/systemd/*.service; do
    put 644 "$unit" "$units/$(basename "$unit")"
    cat packaging/systemd/sandbox.conf >>"$root$units/$(basename "$unit")"
done
put 644 packaging/systemd/certhook-renew.timer $units/certhook-renew.timer
for conf in packaging/systemd/*.service.d/*.conf; do
    put 644 "$conf" "$units/${conf#packaging/systemd/}"
done

for hook in hooks/*; do
    [ -f "$hook" ] || continue
    mode=644
    [ ! -x "$hook" ] || mode=755
    put $mode "$hook" "/usr/lib/certhook/$hook"
    # What a tool was told to call outlives a removal.
    [ $mode = 644 ] || put 755 packaging/guard "/etc/certhook/$hook"
done
for guard in "$root"/etc/certhook/hooks/*; do sed -i "s/@HOOK@/${guard##*/}/" "$guard"; done
put 755 packaging/link-certbot /usr/lib/certhook/link-certbot

for page in packaging/man/*.[1-8]; do
    [ -e "$page" ] || continue
    section=${page##*.}
    put 644 "$page" "/usr/share/man/man$section/$(basename "$page")"
    gzip -9n "$root/usr/share/man/man$section/$(basename "$page")"
done
completion() { [ ! -e "packaging/completions/$1" ] || put 644 "packaging/completions/$1" "$2"; }
completion certhook.bash /usr/share/bash-completion/completions/certhook
completion _certhook /usr/share/zsh/vendor-completions/_certhook
completion certhook.fish /usr/share/fish/vendor_completions.d/certhook.fish

doc=/usr/share/doc/certhook
for text in README.md SECURITY.md; do put 644 $text $doc/$text; done
for example in packaging/prometheus/*.yml packaging/systemd/examples/*; do
    case $example in *-test.yml) continue ;; esac
    [ ! -e "$example" ] || put 644 "$example" "$doc/examples/$(basename "$example")"
done

find "$root" -exec touch --no-dereference --date="@$(packaging/epoch.sh)" {} +
