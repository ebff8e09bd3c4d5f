#!/usr/bin/env bash
# Processes as pods: each in a network namespace with an address of its own, on one bridge, names
# in /etc/hosts. Everything lives in namespaces of this script and goes with it.
#
#   unshare --net --mount --pid --fork --kill-child --mount-proc pods.sh FOLDER POD...
#
# FOLDER has a script POD.sh for each pod; the last pod is the job, whose exit status is returned.
set -euo pipefail
folder=$1
shift
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add pods type bridge
ip addr add 10.244.0.1/24 dev pods
ip link set pods up
echo "127.0.0.1 localhost" > "$folder/hosts"
number=2
for pod in "$@"; do
  ip netns add "$pod"
  ip link add "v$number" type veth peer name eth0 netns "$pod"
  ip link set "v$number" master pods up
  ip netns exec "$pod" ip addr add "10.244.0.$number/24" dev eth0
  ip netns exec "$pod" ip link set eth0 up
  ip netns exec "$pod" ip link set lo up
  # So that a process finds out which of its addresses is the one others reach.
  ip netns exec "$pod" ip route add default via 10.244.0.1
  echo "10.244.0.$number $pod" >> "$folder/hosts"
  number=$((number + 1))
done
mount --bind "$folder/hosts" /etc/hosts
for pod in "${@:1:$#-1}"; do
  ip netns exec "$pod" bash "$folder/$pod.sh" > "$folder/$pod.log" 2>&1 &
done
# As Kubernetes does with restartPolicy OnFailure: the scheduler may not listen yet.
for _ in 1 2 3 4 5 6 7 8; do
  status=0
  ip netns exec "${!#}" bash "$folder/${!#}.sh" > "$folder/${!#}.log" 2>&1 || status=$?
  [ "$status" = 4 ] || break
  sleep 2
done
for probe in "$folder"/*.probe; do
  ip netns exec "$(basename "$probe" .probe)" curl --silent --fail --output /dev/null "$(cat "$probe")"
done
exit "$status"
