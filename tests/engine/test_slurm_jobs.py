"""Jobs of a made-up queue: which are on their way, which ended, which are asked for again."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from distres.errors import ClusterError

if importlib.util.find_spec("dask_jobqueue") is None:
    pytest.skip("the extra 'slurm' is not installed", allow_module_level=True)

from distres.engine.slurm_jobs import FRUITLESS, LOOK_SECONDS, SETTLE_SECONDS, Jobs


def test_dask_jobqueue_does_not_take_ctrl_c():
    code = """if True:
        import signal, threading
        thread = threading.Thread(target=__import__, args=["distres.engine.slurm_jobs"])
        before = signal.getsignal(signal.SIGINT), signal.signal
        thread.start()
        thread.join()
        import sys
        assert "dask_jobqueue.slurm" in sys.modules
        assert (signal.getsignal(signal.SIGINT), signal.signal) == before
    """
    subprocess.run([sys.executable, "-c", code], check=True)


class Batch:
    """A cluster, its queue and a clock, all made up."""

    def __init__(self, tmp_path):
        self.now = 0.0
        self.workers, self.states, self.scaled = {}, {}, []
        self.scheduler = SimpleNamespace(workers={}, address="tls://here")
        self.jobs = Jobs(self, tmp_path, queue=lambda: dict(self.states), clock=lambda: self.now)

    def submit(self, name, number, state="PENDING", refusal=None):
        job = SimpleNamespace(job_id=number, refusal=refusal, submitted_at=self.now)
        self.workers[name] = job
        if refusal is None:
            self.states[number] = (state, "Priority")

    def connect(self, name):
        self.scheduler.workers[f"tls://{name}"] = SimpleNamespace(name=name)

    def scale(self, jobs):
        self.scaled.append(jobs)

    def later(self, seconds=LOOK_SECONDS + SETTLE_SECONDS):
        self.now += seconds


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)


def test_jobs_in_the_queue_are_on_their_way_and_those_that_compute_are_not(batch):
    batch.submit("w-0", "10")
    batch.submit("w-1", "11", "RUNNING")
    batch.submit("w-2", "12", "RUNNING")
    batch.connect("w-2")
    batch.later()
    assert batch.jobs.coming == 2
    assert batch.jobs.waiting == {"Priority": 1}
    batch.later(100_000)
    assert batch.jobs.coming == 2
    assert set(batch.workers) == {"w-0", "w-1", "w-2"}


def test_a_job_that_ended_is_forgotten_so_that_scaling_submits_it_again(batch):
    batch.submit("w-0", "10", "RUNNING")
    batch.submit("w-1", "11", "RUNNING")
    batch.connect("w-0")
    batch.connect("w-1")
    assert batch.jobs.coming == 0
    del batch.scheduler.workers["tls://w-1"], batch.states["11"]
    batch.later()
    batch.jobs.scale(2)
    assert set(batch.workers) == {"w-0"}
    assert batch.scaled == [2]


def test_a_job_that_the_queue_does_not_show_yet_is_not_given_up(batch):
    batch.submit("w-0", "10")
    batch.states.clear()
    assert batch.jobs.coming == 1
    batch.later(SETTLE_SECONDS - 1)
    assert batch.jobs.coming == 1


def test_a_queue_that_does_not_answer_changes_nothing(batch, monkeypatch):
    batch.submit("w-0", "10")
    assert batch.jobs.coming == 1

    def silent():
        raise subprocess.TimeoutExpired("squeue", 60)

    batch.jobs._queue = silent
    batch.later()
    assert batch.jobs.coming == 1
    assert "w-0" in batch.workers


def test_jobs_refused_beyond_a_limit_do_not_end_a_run_that_has_workers(batch, caplog):
    batch.submit("w-0", "10", "RUNNING")
    batch.connect("w-0")
    for index in range(1, 5):
        batch.submit(f"w-{index}", None, refusal="sbatch: error: QOSMaxSubmitJobPerUserLimit")
    batch.later()
    assert batch.jobs.coming == 0
    assert caplog.text.count("QOSMaxSubmit") == 1


def test_jobs_that_end_before_they_connect_end_the_run_with_their_log(batch, tmp_path):
    (tmp_path / "distres-worker-12.err").write_text("bash: conda: command not found\n\n")

    def fail(number):
        batch.submit("w-0", str(number))
        batch.states.clear()
        batch.later()
        batch.jobs.scale(1)

    for number in range(10, 10 + FRUITLESS - 1):
        fail(number)
    with pytest.raises(ClusterError, match=r"3 worker jobs ended.*conda: command not found"):
        fail(10 + FRUITLESS - 1)
