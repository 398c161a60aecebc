#!/bin/sh
# The first moments of a box, in its own namespaces: a root of its own, and then systemd. See boot.sh.
set -eu

tree=$1 root=$2 name=$3

# All of it is in memory and in this mount namespace: it goes with the last process.
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/lower" "$root/upper" "$root/work" "$root/box"
mount -o loop,ro "$tree" "$root/lower"
mount -t overlay -o "lowerdir=$root/lower,upperdir=$root/upper,workdir=$root/work" overlay "$root/box"
cd "$root/box"

mount -t proc -o nosuid,nodev,noexec proc proc
# The kernel's settings are the host's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro,nosuid,nodev,noexec proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup

mount -t tmpfs -o mode=755,nosuid tmpfs dev
device() { mknod -m 666 "dev/$1" c "$2" "$3"; }
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
device tty 5 0
# Not a link to null, whose mode systemd would change.
device console 1 3
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp

# What a box has no use for: a terminal, the host's modules, the timers of the day.
for unit in console-getty.service systemd-modules-load.service apt-daily.timer apt-daily-upgrade.timer; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
hostname "$name"
echo "$name" >etc/hostname
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >etc/hosts
[ -s etc/machine-id ] || : >etc/machine-id

pivot_root . mnt
hash -r
umount -l /mnt
# Units have namespaces below this one: without it credentials would not be seen in them.
mount --make-rshared /
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /sbin/init systemd.show_status=no
