#!/bin/sh
# Boots a Debian with a systemd of its own, in namespaces of its own; what it changes is thrown away.
#
#   boot.sh SUITE                a shell in it; it ends with the shell
#   boot.sh SUITE COMMAND…       a command in it; it ends with the command
#   boot.sh SUITE --hold         prints "leader PID", and ends when standard input does: for programs
#
# As root. Any number may run at once. Nothing stays on the host however this ends: mounts, network and processes
# are the box's, and the two empty folders that a kill -9 leaves the next boot sweeps away.
set -eu

here=$(dirname "$(readlink -f "$0")")
suite=${1:?usage: boot.sh SUITE [--hold | COMMAND…]}
shift
[ "$(id -u)" = 0 ] || { echo "only root may boot a box" >&2; exit 1; }
tree=$("$here/tree.sh" "$suite")

# systemd wants the second version of control groups, which may be mounted beside the first.
groups=/sys/fs/cgroup
[ -e $groups/cgroup.procs ] || groups=/sys/fs/cgroup/unified
[ -e $groups/cgroup.procs ] || { echo "no control groups (version 2) are mounted below /sys/fs/cgroup" >&2; exit 1; }

remove_group() { find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true; }
temporary=${TMPDIR:-/tmp}
for left in "$groups"/certhook-box-* "$temporary"/certhook-box-*; do
    [ -d "$left" ] || continue
    # Another that boots right now has none of its processes in it yet, but it is alive.
    pid=${left##*-}
    kill -0 "${pid%.*}" 2>/dev/null || remove_group "$left"
done

group=$groups/certhook-box-$suite-$$
work=$(mktemp -d "$temporary/certhook-box-$$.XXXXXX")
outer=
leader=
booted=
clean() {
    trap - EXIT INT TERM HUP
    # Its first process takes all others with it, and is buried by the one that waits for it.
    [ -z "$leader" ] || kill -9 "$leader" 2>/dev/null || kill -9 "$outer" 2>/dev/null || true
    [ -n "$leader" ] || [ -z "$outer" ] || kill -9 "$outer" 2>/dev/null || true
    [ -z "$outer" ] || wait "$outer" 2>/dev/null || true
    [ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill"
    tries=0
    while [ -d "$group" ] && [ $tries -lt 100 ]; do
        remove_group "$group"
        tries=$((tries + 1))
        [ ! -d "$group" ] || sleep 0.05
    done
    [ -n "$booted" ] || cat "$work/log" >&2 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

mkdir "$group"
mkdir "$work/root"
# Out of this terminal's reach: the signals of its keys are for this script.
setsid setpriv --pdeathsig KILL sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
    unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child --propagation=private \
    "$here/init.sh" "$tree" "$work/root" "certhook-$suite" </dev/null >"$work/log" 2>&1 &
outer=$!

inside() {
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd env -i \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM-dumb}" "$@"
}
state=
tries=0
until [ "$state" = running ] || [ "$state" = degraded ]; do
    tries=$((tries + 1))
    if ! kill -0 "$outer" 2>/dev/null || [ $tries -gt 1200 ]; then
        echo "$suite did not boot: ${state:-nothing runs}" >&2
        exit 1
    fi
    sleep 0.05
    [ -n "$leader" ] || leader=$(tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null || true)
    [ -z "$leader" ] || state=$(inside systemctl is-system-running 2>/dev/null || true)
done
booted=yes

case ${1-} in
    --hold)
        echo "leader $leader"
        while read -r _; do :; done
        ;;
    '') inside /bin/bash --login || true ;;
    *) inside "$@" ;;
esac
