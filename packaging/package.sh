#!/bin/sh
# Makes the packages: package.sh deb|rpm|tarball|all [FOLDER]   (target/packages, if no folder is named)
# CERTHOOK_PACKAGE_VERSION is another version than the program's, for tests of upgrades; CERTHOOK_PROGRAM one that is
# built already.
set -eu
cd "$(dirname "$0")/.."
what=${1:?usage: package.sh deb|rpm|tarball|all [FOLDER]}
target=${CARGO_TARGET_DIR:-$PWD/target}
out=$(readlink -m "${2:-$target/packages}")

version=${CERTHOOK_PACKAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
revision=1
maintainer='The certhook authors <certhook@localhost>'
summary='reload nginx when a certificate was renewed, and prove it is served'
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH

packaging/tools.sh packages
program=${CERTHOOK_PROGRAM:-$(packaging/build.sh)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir -p "$out"
packaging/stage.sh "$program" "$work/stage"
# Another version has another sample: what becomes of an administrator's own is a test's question.
[ -z "${CERTHOOK_PACKAGE_VERSION-}" ] || echo "# Of version $version." >>"$work/stage/etc/certhook/certhook.toml"

# Silent where all is well. What is meant to be as it is says so in deb/lintian-overrides and rpm/rpmlintrc.
lint() {
    [ "${CERTHOOK_PACKAGE_LINT-yes}" = yes ] || return 0
    "$@" >"$work/lint" 2>&1 || { cat "$work/lint" >&2; exit 1; }
}

# The packages with the libraries that the program was linked with. One that is not known here must be put here.
libraries() {
    objdump -p "$program" | sed -n 's/^ *NEEDED *//p' | while read -r library; do
        case $library in
            libgcc_s.so.1 | libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1 | libutil.so.1 | ld-linux-x86-64.so.2)
                echo "libc6 (>= 2.28)" ;;
            *) echo "package.sh: which package has $library? say it in libraries()" >&2; exit 1 ;;
        esac
    done | sort -u
}

deb() {
    root=$work/deb
    cp -a "$work/stage" "$root"
    doc=$root/usr/share/doc/certhook
    install -m 644 packaging/deb/copyright "$doc/copyright"
    gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
    printf 'certhook (%s-%s) unstable; urgency=medium\n\n  * See changelog.gz beside this file.\n\n -- %s  %s\n' \
        "$version" "$revision" "$maintainer" "$(LC_ALL=C date -uRd "@$SOURCE_DATE_EPOCH")" |
        gzip -9nc >"$doc/changelog.Debian.gz"
    install -D -m 644 packaging/deb/lintian-overrides "$root/usr/share/lintian/overrides/certhook"

    # What the maintainer scripts are about comes after this.
    mkdir -m 755 "$root/DEBIAN"
    needs=$(libraries)
    size=$(du -k --apparent-size -s "$root" | cut -f 1)
    sed -e "s/@VERSION@/$version-$revision/" -e "s/@MAINTAINER@/$maintainer/" -e "s/@SUMMARY@/$summary/" \
        -e "s/@LIBRARIES@/$needs/" -e "s/@SIZE@/$size/" packaging/deb/control >"$root/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "packaging/deb/$script" "$root/DEBIAN/$script"
    done
    install -m 644 packaging/deb/triggers "$root/DEBIAN/triggers"
    (cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
    (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    chmod 644 "$root/DEBIAN/conffiles" "$root/DEBIAN/md5sums"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz "-z${CERTHOOK_PACKAGE_EFFORT:-6}" --build "$root" \
        "$out/certhook_$version-${revision}_amd64.deb" >/dev/null
    lint lintian --profile debian --fail-on error,warning "$out/certhook_$version-${revision}_amd64.deb"
}

rpm() {
    # Where rpm's people look for completions.
    cp -a "$work/stage" "$work/rpm"
    if [ -d "$work/rpm/usr/share/zsh" ]; then
        mv "$work/rpm/usr/share/zsh/vendor-completions" "$work/rpm/usr/share/zsh/site-functions"
    fi
    # An rpm takes its own files with it when it is erased; these are copied, and stay.
    mv "$work/rpm/etc/certhook/hooks" "$work/rpm/usr/lib/certhook/guards"
    mkdir -p "$work/rpm/usr/share/licenses/certhook"
    install -m 644 LICENSE-MIT LICENSE-APACHE "$work/rpm/usr/share/licenses/certhook/"
    install -m 644 CHANGELOG.md "$work/rpm/usr/share/doc/certhook/"
    install -d "$work/rpm/var/lib/certhook"
    rpmbuild --quiet -bb --target x86_64 \
        --define "_topdir $work/rpmbuild" --define "_rpmdir $work/rpms" --define "stage $work/rpm" \
        --define "version_ $version" --define "release_ $revision" \
        --define "packager_ $maintainer" --define "date_ $(LC_ALL=C date -u '+%a %b %d %Y' -d "@$SOURCE_DATE_EPOCH")" \
        --define "_binary_payload w${CERTHOOK_PACKAGE_EFFORT:-6}.xzdio" \
        --define 'use_source_date_epoch_as_buildtime 1' --define '_buildhost certhook' \
        --define 'clamp_mtime_to_source_date_epoch 1' \
        packaging/rpm/certhook.spec >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    mv "$work"/rpms/x86_64/*.rpm "$out/"
    lint rpmlint --rpmlintrc packaging/rpm/rpmlintrc --strict "$out/certhook-$version-$revision.x86_64.rpm"
}

tarball() {
    name=certhook-$version-x86_64-linux
    cp -a "$work/stage" "$work/$name"
    install -m 644 LICENSE-MIT LICENSE-APACHE CHANGELOG.md "$work/$name/usr/share/doc/certhook/"
    tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" "$name" | gzip -9n >"$out/$name.tar.gz"
}

case $what in
    deb | rpm | tarball) $what ;;
    all) deb; rpm; tarball ;;
    *) echo "usage: package.sh deb|rpm|tarball|all [FOLDER]" >&2; exit 2 ;;
esac
(cd "$out" && for file in *.deb *.rpm *.tar.gz; do [ ! -e "$file" ] || echo "$file"; done | xargs sha256sum >SHA256SUMS)
ls -l "$out" >&2
