#!/bin/sh
# The zip for Windows: package.sh [FOLDER]   (target/packages, if no folder is named); prints its path.
# CERTHOOK_PROGRAM is a certhook.exe that is built already.
set -eu
cd "$(dirname "$0")/../.."
out=$(readlink -m "${1:-${CARGO_TARGET_DIR:-$PWD/target}/packages}")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
packaging/windows/tools.sh
program=${CERTHOOK_PROGRAM:-$(packaging/windows/build.sh)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
name=certhook-$version-windows-x86_64
root=$work/$name
mkdir -p "$root/hooks" "$out"
cp "$program" "$root/certhook.exe"
# Texts as Windows has them: its shell loses labels in others.
text() { sed 's/\r*$/\r/' "$1" >"$root/$2"; }
for file in packaging/windows/zip/*.* packaging/windows/zip/hooks/*; do
    text "$file" "${file#packaging/windows/zip/}"
done
text LICENSE-APACHE LICENSE-APACHE.txt
text LICENSE-MIT LICENSE-MIT.txt
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -f "$out/$name.zip"
(cd "$work" && find "$name" | LC_ALL=C sort | TZ=UTC zip -q -X "$out/$name.zip" -@)
echo "$out/$name.zip"
