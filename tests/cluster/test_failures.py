"""Clusters that cannot carry a run end it with a reason, never with a hang."""

import socket
import sys
import time
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest

from distres.engine.cluster import open_executor
from distres.engine.jobs import TileResult
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import ClusterError, TileError

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def greedy(inputs, parameters):
    """Take more memory than the worker has, at one tile."""
    if inputs.tile.index == 2:
        block = np.ones(10**8)
        # Until the nanny has seen it.
        time.sleep(120)
        return TileResult(row={"sum": float(block.sum())})
    return TileResult(row={"sum": 1.0})


def test_a_tile_that_needs_too_much_memory_is_named_and_the_others_finish(tmp_path, make_job):
    job = make_job(function=greedy, core=20, outputs={})
    with (
        open_executor("local", workers=2, memory_bytes=400_000_000) as executor,
        pytest.raises(TileError, match=r"tile 2 .*worker died.*--memory") as caught,
    ):
        run_job(job, run=Run.open(tmp_path / "run"), executor=executor)
    assert f"{len(job.plan) - 1} of {len(job.plan)} tiles are done" in str(caught.value)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_scheduler_that_dies_ends_the_run_resumably(
    tmp_path, make_job, free_port, until, start_dask, hold
):
    hold.touch()
    scheduler = start_dask("scheduler", free_port)
    until(lambda: listens(free_port))
    start_dask("worker", free_port)

    def kill_scheduler(progress):
        if progress.done >= 2:
            scheduler.kill()
            hold.unlink(missing_ok=True)

    address = f"tcp://127.0.0.1:{free_port}"
    job = make_job(core=16)
    with open_executor(address, watcher=kill_scheduler) as executor:
        run = Run.open(tmp_path / "run")
        # A worker may come late on a busy machine; a scheduler that is gone is given up soon.
        impatient = replace(executor, patience_seconds=10)
        with pytest.raises(ClusterError, match="scheduler is gone"):
            run_job(job, run=run, executor=impatient)
    with open_executor() as executor:
        run = Run.open(tmp_path / "run", resume=True)
        table = run_job(job, run=run, executor=executor)
    assert table.stats.resumed >= 2
