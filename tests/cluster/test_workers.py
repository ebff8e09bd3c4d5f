"""Real worker processes: the same bits, whatever happens to them."""

import os
import signal
import threading
import time

import pytest

from distres.engine.cluster import executor_of, open_executor
from distres.engine.estimate import estimate_job
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import ClusterError

pytestmark = pytest.mark.cluster


def test_bits_do_not_depend_on_the_number_of_workers(tmp_path, make_job, everything):
    bits = {}
    for spec, workers in [("none", None), ("local", 1), ("local", 2), ("local", 4)]:
        with open_executor(spec, workers=workers, memory_bytes=10**9) as executor:
            run = Run.open(tmp_path / f"{spec}-{workers}")
            table = run_job(make_job(core=10), run=run, executor=executor)
            assert (table.columns["threads"] == 1).all()
            bits[spec, workers] = everything(run, table)
    assert len({b"".join(b) for b in bits.values()}) == 1


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(tmp_path, make_job, everything, hold):
    job = make_job(seconds=0.05, core=12)
    with open_executor() as executor:
        run = Run.open(tmp_path / "expected")
        expected = everything(run, run_job(job, run=run, executor=executor))
    with open_executor("local", workers=2, memory_bytes=10**9) as executor:
        run = Run.open(tmp_path / "run")
        killed = []
        hold.touch()

        def kill():
            while not (tmp_path / "run" / "ledger" / "smooth" / "tiles.jsonl").exists():
                time.sleep(0.05)
            workers = executor.client.run(os.getpid)
            victim = next(iter(workers.values()))
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            hold.unlink()

        killer = threading.Thread(target=kill)
        killer.start()
        table = run_job(job, run=run, executor=executor)
        killer.join()
        assert killed
        assert killed[0] not in executor.client.run(os.getpid).values()
    assert everything(run, table) == expected


def test_an_estimate_tries_three_tiles(make_job, calls):
    with open_executor("local", workers=2, memory_bytes=10**9) as executor:
        job = make_job(seconds=0.2, core=14)
        estimate = estimate_job(job, executor=executor)
        # Once to load libraries and once to be timed; a slow first try is not repeated.
        assert list(calls().values()) in ([1] * 3, [2] * 3)
    assert estimate.tiles == len(job.plan)
    # Tiles sleep 0.07 s at least, and two workers share them.
    assert estimate.seconds >= len(job.plan) * 0.2 / 3 / 2
    assert estimate.trial_memory_bytes > 10**8
    assert "memory" in str(estimate)


def test_a_scheduler_that_others_run_can_be_joined(tmp_path, make_job, everything):
    from distributed import LocalCluster

    settings = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": "1GB"}
    with (
        LocalCluster(**settings, dashboard_address=None) as cluster,
        open_executor(cluster.scheduler_address) as executor,
    ):
        assert (executor.workers, executor.memory_bytes) == (1, 10**9)
        run = Run.open(tmp_path / "run")
        table = run_job(make_job(core=16), run=run, executor=executor)
        assert len(table.tiles) == len(make_job(core=16).plan)


def test_a_client_of_the_caller_is_used_and_left_open(tmp_path, make_job):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = executor_of(client)
        assert executor.workers == 2
        table = run_job(make_job(core=16), run=Run.open(tmp_path / "run"), executor=executor)
        assert (table.columns["threads"] == 1).all()
        assert client.status == "running"


def test_an_address_where_nobody_listens_is_refused(free_port):
    with (
        pytest.raises(ClusterError, match="no scheduler answers"),
        open_executor(f"tcp://127.0.0.1:{free_port}"),
    ):
        pass
