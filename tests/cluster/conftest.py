"""A small job whose tiles say where and how often they were computed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import zarr

from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.tiles import TilePlan

# Workers cannot import test modules: send their functions by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = (37, 40, 33)
# While a file named "hold" lies beside the calls, each tile takes this long: a run lasts until a
# test has seen what it waits for, at any speed of the machine.
HOLD_SECONDS = 3.0


def work(inputs, parameters):
    """Filter a block in the Fourier domain with torch, and note the call in a folder."""
    import torch

    tile = inputs.tile
    block = torch.from_numpy(inputs.block("map"))
    spectrum = torch.fft.rfftn(block)
    spectrum[0] *= 0.5
    smooth = torch.fft.irfftn(spectrum, s=block.shape).numpy()[tile.crop]
    time.sleep(parameters["seconds"] * (1 + (tile.index * 7) % 5) / 3)
    end = time.monotonic() + HOLD_SECONDS
    while Path(parameters["calls"]).with_name("hold").exists() and time.monotonic() < end:
        time.sleep(0.05)
    Path(parameters["calls"], f"{tile.index}-{os.getpid()}-{time.time_ns()}").touch()
    return TileResult(
        arrays={"smooth": smooth, "twice": np.stack([smooth, 2 * smooth])},
        row={
            "counts": np.histogram(smooth, bins=16, range=(-4, 4))[0],
            "sum": float(smooth.astype(np.float64).sum()),
            "threads": torch.get_num_threads(),
        },
    )


@pytest.fixture
def make_job(tmp_path):
    values = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    store = str(tmp_path / "in.zarr")
    zarr.create_array(store, name="map", data=values, chunks=(16, 16, 16))
    (tmp_path / "calls").mkdir()

    def make(*, function=work, seconds=0.0, core=8, **changes):
        settings = {
            "name": "smooth",
            "plan": TilePlan(shape=SHAPE, core=(core,) * 3, halo=(3, 3, 3)),
            "function": function,
            "inputs": {"map": ZarrSource.of(store, "map")},
            "outputs": {"smooth": OutputSpec(), "twice": OutputSpec(lead=(2,))},
            "parameters": {"seconds": seconds, "calls": str(tmp_path / "calls")},
        }
        return TileJob(**{**settings, **changes})

    return make


@pytest.fixture
def calls(tmp_path):
    """Count how often each tile was computed so far."""

    def count():
        return Counter(int(p.name.split("-")[0]) for p in (tmp_path / "calls").iterdir())

    return count


@pytest.fixture
def hold(tmp_path):
    """Return the file that makes a run last while it exists."""
    return tmp_path / "hold"


@pytest.fixture
def until():
    """Wait for a condition; the limit is far beyond what a loaded machine needs."""

    def wait(condition, seconds=240):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.1)

    return wait


@pytest.fixture
def everything():
    """Return all bits of a run: outputs, rows, reductions."""

    def collect(run, table):
        arrays = [zarr.open_array(run.store, path=p, mode="r")[...] for p in ("smooth", "twice")]
        columns = [table.columns[name] for name in sorted(table.columns)]
        return [a.tobytes() for a in [*arrays, *columns, table.sum("sum"), table.tiles]]

    return collect


@pytest.fixture
def free_port():
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start_dask(tmp_path):
    """Start a scheduler or a worker of a port, each with its nanny a process group of its own."""
    started = []

    def start(kind, port):
        words = {
            "scheduler": ["--host", "127.0.0.1", "--port", str(port)],
            "worker": [f"tcp://127.0.0.1:{port}", "--nthreads", "1"],
        }[kind]
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words, "--no-dashboard"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def mount_disk(tmp_path):
    """Mount a disk of a size; skip where a process may not."""
    mounted = []

    def mount(size):
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a disk can be mounted by root only")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)
