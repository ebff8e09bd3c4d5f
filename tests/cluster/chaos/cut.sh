#!/usr/bin/env bash
# A scheduler and a client in one network namespace, a worker in another; the link is cut while they
# work. Everything lives in namespaces of this script and goes with it.
#
#   unshare --net --mount --pid --fork --kill-child --mount-proc cut.sh FOLDER SECONDS PYTHON DRIVER
set -euo pipefail
folder=$1 seconds=$2 python=$3 driver=$4
mount -t tmpfs tmpfs /run
ip link set lo up
ip netns add head
ip netns add node
ip link add eth0 netns head type veth peer name eth0 netns node
number=1
for side in head node; do
  ip netns exec "$side" ip addr add "10.245.0.$number/24" dev eth0
  ip netns exec "$side" ip link set eth0 up
  ip netns exec "$side" ip link set lo up
  ip netns exec "$side" ip route add default dev eth0
  number=$((number + 1))
done
cd "$folder"
ip netns exec head "$python" -m distributed.cli.dask_scheduler --host 10.245.0.1 --port 8786 \
  --no-dashboard > scheduler.log 2>&1 &
# As Kubernetes and SLURM do: a worker that ended is started again.
(while true; do
  ip netns exec node "$python" -m distributed.cli.dask_worker tcp://10.245.0.1:8786 --nthreads 1 \
    --no-dashboard --memory-limit 1GB --death-timeout 60 >> worker.log 2>&1 || true
  sleep 1
done) &
touch hold
(
  for _ in $(seq 3000); do
    [ -e begun ] && break
    sleep 0.1
  done
  ip netns exec node ip link set eth0 down
  echo cut >> events
  sleep "$seconds"
  ip netns exec node ip link set eth0 up
  ip netns exec node ip route replace default dev eth0
  echo mended >> events
  rm hold
) &
status=4
for _ in $(seq 30); do
  status=0
  ip netns exec head "$python" "$driver" "$folder" "$folder/run" "$folder/profile.toml" 0.05 6 \
    > driver.log 2>> driver.err || status=$?
  [ "$status" = 4 ] || break
  sleep 1
done
exit "$status"
