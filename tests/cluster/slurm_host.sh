#!/usr/bin/env bash
# A SLURM of one host for tests: munged, slurmctld and slurmd in a private folder.
#
#   slurm_host.sh start    prints the folder; export SLURM_CONF=FOLDER/slurm.conf to use it
#   slurm_host.sh stop FOLDER
#
# Needs Debian's slurmctld, slurmd, slurm-client and munge. Works for root and for others; nothing
# outside the folder is written.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
  local tool folder host user munge=() key
  for tool in munged slurmctld slurmd sbatch squeue; do
    command -v "$tool" > /dev/null || { echo "$tool is not installed" >&2; exit 3; }
  done
  folder=$(mktemp -d /tmp/distres-slurm-XXXXXX)
  chmod 755 "$folder"
  # Whatever goes wrong from here on leaves nothing behind.
  trap 'cat "$folder"/*.log >&2 || true; stop "$folder"' ERR
  host=$(hostname -s)
  user=$(id -un)
  mkdir "$folder/munge" "$folder/state" "$folder/spool"
  key="$folder/munge/munge.key"
  head -c 1024 /dev/urandom > "$key"
  chmod 700 "$folder/state" "$folder/spool"
  chmod 400 "$key"
  chmod 755 "$folder/munge"
  if [ "$(id -u)" = 0 ]; then
    # munged refuses files of root that another user could have put there.
    chown -R munge: "$folder/munge"
    munge=(setpriv --reuid=munge --regid=munge --clear-groups)
  fi
  "${munge[@]}" munged --key-file "$key" --socket "$folder/munge/socket" \
    --pid-file "$folder/munge/munged.pid" --log-file "$folder/munge/munged.log" \
    --seed-file "$folder/munge/seed" >&2
  cat > "$folder/slurm.conf" << CONF
ClusterName=distres
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmdPort=$(port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
KillWait=5
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=12000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=02:00:00 State=UP
PartitionName=closed Nodes=$host MaxTime=02:00:00 State=DOWN
CONF
  # Devices that no job touches stand for GPUs.
  printf 'NodeName=%s Name=gpu File=/dev/null\nNodeName=%s Name=gpu File=/dev/zero\n' \
    "$host" "$host" > "$folder/gres.conf"
  export SLURM_CONF="$folder/slurm.conf"
  slurmctld -c >&2
  slurmd -c >&2
  for _ in $(seq 400); do
    if [ "$(sinfo --noheader --nodes="$host" --partition=cpu --format=%t 2> /dev/null)" = idle ]; then
      echo "$folder"
      return
    fi
    sleep 0.5
  done
  echo "the node of SLURM did not become idle" >&2
  false
}

stop() {
  local folder=$1 pid
  if [ -f "$folder/slurmctld.pid" ]; then
    SLURM_CONF="$folder/slurm.conf" scancel --user="$(id -un)" 2> /dev/null || true
    sleep 1
  fi
  for pid in slurmd slurmctld munge/munged; do
    [ -f "$folder/$pid.pid" ] && kill "$(cat "$folder/$pid.pid")" 2> /dev/null || true
  done
  sleep 1
  rm -rf "$folder"
}

case "${1:-}" in
  start) start ;;
  stop) stop "$2" ;;
  *) sed -n '2,8p' "$0"; exit 2 ;;
esac
