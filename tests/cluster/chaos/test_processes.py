"""Processes that die, stop or come back: the bits are those of a quiet run, or the run resumes."""

import os
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from distres.engine.cluster import open_executor
from distres.engine.jobs import TileResult
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import ClusterError, TileError

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def quiet(tmp_path, make_job, everything):
    """Bits of a job that nothing disturbed."""

    def compute(**settings):
        with open_executor() as executor, Run.open(tmp_path / "quiet") as run:
            return everything(run, run_job(make_job(**settings), run=run, executor=executor))

    return compute


def processes(executor):
    """Return the process of each worker that computes."""
    return {nanny.pid for nanny in executor.cluster.workers.values() if nanny.pid}


def test_workers_killed_one_by_one_and_all_at_once_cost_nothing_but_time(
    tmp_path, make_job, everything, quiet, hold
):
    hold.touch()
    killed = []

    def kill(progress):
        alive = processes(executor) - set(killed)
        if not hold.exists() or progress.done < 3 or len(alive) < 2:
            return
        if len(killed) < 2:
            victims = sorted(alive)[:1]
        elif len(killed) < 4:
            victims = sorted(alive)
        else:
            hold.unlink()
            return
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        killed.extend(victims)

    with (
        open_executor("local", workers=2, memory_bytes=10**9, watcher=kill) as executor,
        Run.open(tmp_path / "run") as run,
    ):
        table = run_job(make_job(core=8), run=run, executor=executor)
        assert everything(run, table) == quiet(core=8)
    assert len(set(killed)) == 4


def test_a_worker_that_stands_still_is_waited_for(tmp_path, make_job, everything, quiet):
    stopped = []
    last = {"done": -1, "at": 0.0}

    def stop(progress):
        if progress.done != last["done"]:
            last.update(done=progress.done, at=time.monotonic())
        if not stopped and progress.done >= 3:
            stopped.append(min(processes(executor)))
            os.kill(stopped[0], signal.SIGSTOP)
        # The other worker has nothing left that it may take, or nearly so.
        elif len(stopped) == 1 and time.monotonic() - last["at"] > 4:
            os.kill(stopped[0], signal.SIGCONT)
            stopped.append(progress.done)

    with (
        open_executor("local", workers=2, memory_bytes=10**9, watcher=stop) as executor,
        Run.open(tmp_path / "run") as run,
    ):
        job = make_job(core=12, seconds=0.1)
        table = run_job(job, run=run, executor=executor)
        assert everything(run, table) == quiet(core=12, seconds=0.1)
    assert 3 <= stopped[1] < len(job.plan)


def poison(inputs, parameters):
    """Kill the worker at one tile, as long as a file says so."""
    if inputs.tile.index == 2 and Path(parameters["calls"]).with_name("poison").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    core = inputs.core("map") * np.float32(1.5)
    return TileResult(arrays={"smooth": core, "twice": np.stack([core, core])}, row={"sum": 1.0})


def test_a_tile_that_always_kills_its_worker_is_named_and_the_others_are_done(
    tmp_path, make_job, everything, quiet
):
    expected = quiet(function=poison, core=20)
    (tmp_path / "poison").touch()
    job = make_job(function=poison, core=20)
    with (
        open_executor("local", workers=2, memory_bytes=10**9) as executor,
        Run.open(tmp_path / "run") as run,
    ):
        with pytest.raises(TileError, match=r"tile 2 .*worker died.*--resume") as caught:
            run_job(job, run=run, executor=executor)
        assert f"{len(job.plan) - 1} of {len(job.plan)} tiles are done" in str(caught.value)
        (tmp_path / "poison").unlink()
        table = run_job(job, run=run, executor=executor)
        assert (table.stats.computed, table.stats.resumed) == (1, len(job.plan) - 1)
        assert everything(run, table) == expected


def test_a_scheduler_that_is_killed_and_restarted_loses_no_finished_tile(
    tmp_path, make_job, everything, quiet, free_port, hold, start_dask
):
    hold.touch()
    kinds = ("scheduler", "worker")
    running = [start_dask(kind, free_port) for kind in kinds]
    restarted = []

    def restart(progress):
        if progress.done >= 3 and not restarted:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            restarted.append(progress.done)
            for kind in kinds:
                start_dask(kind, free_port)
            hold.unlink()

    file = tmp_path / "profile.toml"
    address = f"tcp://127.0.0.1:{free_port}"
    file.write_text(f'kind = "address"\naddress = "{address}"\npatience_seconds = 200\n')
    job = make_job(core=12)
    end = time.monotonic() + 400
    while True:
        # The client finds the scheduler again, or the run ends and is resumed: both are right.
        try:
            with (
                open_executor(str(file), watcher=restart) as executor,
                Run.open(tmp_path / "run", resume=True) as run,
            ):
                table = run_job(job, run=run, executor=executor)
                bits = everything(run, table)
                break
        except ClusterError:
            if time.monotonic() > end:
                raise
            time.sleep(1)
    assert restarted
    assert bits == quiet(core=12)
