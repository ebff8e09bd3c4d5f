"""Reading and writing an object store with obstore and with s3fs: processor time and requests.

Usage: python benchmarks/objectstores.py [--edge 256] [--rounds 5]

Both speak to one moto server process on this machine. Prints for a Zarr array of edge^3 float32
voxels in chunks of 64^3 the range of this process's processor time over some rounds of writing and
reading; through a proxy, how many requests both together took; and what came of writing and reading
when half of all answers are 500. s3fs is no dependency of distres; the extra `test` brings it.
"""

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from distres.io import stores

CHUNK = 64
PROXY = Path(__file__).parents[1] / "tests/objectstore/proxy.py"
START_SECONDS = 120
Opener = Callable[[str], Store]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "benchmark"
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    data = np.random.default_rng(0).normal(size=(options.edge,) * 3).astype(np.float32)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("moto_server")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([program, "--host", "127.0.0.1", "--port", str(port)], **quiet)
    try:
        wait_for(port)
        for name, opener in {"obstore": with_obstore, "s3fs": with_s3fs}.items():
            print(json.dumps({name: compare(opener, port, name, data, options.rounds)}, indent=1))
    finally:
        server.kill()
        server.wait()
    # At once: s3fs tells at length of the requests that it gave up.
    sys.stdout.flush()
    os._exit(0)


def wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            sys.exit("the moto server does not listen")
        time.sleep(0.1)


def with_obstore(address: str) -> Store:
    stores._opened.cache_clear()
    return stores.as_store(address)


def with_s3fs(address: str) -> Store:
    # Without a cache of instances, which would keep the endpoint of the first.
    settings = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "skip_instance_cache": True}
    return FsspecStore.from_url(address, storage_options=settings)


def compare(
    opener: Opener, port: int, bucket: str, data: np.ndarray, rounds: int
) -> dict[str, object]:
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    client.create_bucket(Bucket=bucket)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    write, read = [], []
    for number in range(rounds):
        store = opener(f"s3://{bucket}/{number}")
        write.append(cpu_seconds(lambda store=store: save(store, data)))
        read.append(cpu_seconds(lambda store=store: load(store)))
    proxy = proxy_class()(port, seed=1)
    os.environ["AWS_ENDPOINT_URL"] = proxy.address
    store = opener(f"s3://{bucket}/counted")
    save(store, data)
    load(store)
    requests = len(proxy.requests)
    proxy.error_share = 0.5
    outcome = "the same values"
    try:
        store = opener(f"s3://{bucket}/failing")
        save(store, data)
        if not np.array_equal(load(store), data):
            outcome = "other values"
    except Exception as error:
        outcome = f"{type(error).__name__}: {str(error)[:80]}"
    proxy.close()
    return {
        "write_cpu_seconds": [round(min(write), 2), round(max(write), 2)],
        "read_cpu_seconds": [round(min(read), 2), round(max(read), 2)],
        "requests": requests,
        "half_of_answers_500": outcome,
    }


def proxy_class() -> type:
    spec = importlib.util.spec_from_file_location("proxy", PROXY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Proxy


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def save(store: Store, data: np.ndarray) -> None:
    zarr.create_array(store, name="map", data=data, chunks=(CHUNK,) * 3)


def load(store: Store) -> np.ndarray:
    return zarr.open_array(store, path="map", mode="r")[...]


if __name__ == "__main__":
    main()
