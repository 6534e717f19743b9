#!/bin/sh
# Becomes a booted host: a control group of its own, the host's file system in a mount namespace of its own, the
# test's network namespace, then systemd as process 1. Whatever was mounted or made here goes with the process.
# usage: boot-host.sh NAME NETWORK-NAMESPACE LOWER HOST-FOLDER [OPTION-OF-SYSTEMD-NSPAWN...]
set -eu
name=$1 network=$2 lower=$3 folder=$4
shift 4

# Hosts that share a control group would stop one another's services.
while IFS=: read -r _ controllers path; do
    case $controllers in
        '') for top in /sys/fs/cgroup/unified /sys/fs/cgroup; do [ -e "$top/cgroup.procs" ] && break; done ;;
        name=*) top=/sys/fs/cgroup/${controllers#name=} ;;
        cpuset) continue ;;  # has no processes before processors and memory are given to it
        *) top=/sys/fs/cgroup/$controllers ;;
    esac
    [ -e "$top/cgroup.procs" ] || continue
    mkdir -p "$top$path/$name"
    echo $$ > "$top$path/$name/cgroup.procs"
done < /proc/self/cgroup

mount -t overlay "$name" -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
exec nsenter "--net=$network" systemd-nspawn --quiet --register=no --keep-unit "--directory=$folder/root" \
    "--machine=$name" --network-bridge=br0 --console=pipe "$@" --boot
