"""Workers as SLURM jobs, on a real SLURM of one host."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distres.engine import watchdog
from distres.engine.cluster import open_executor
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import ClusterError, RunInterrupted

if importlib.util.find_spec("dask_jobqueue") is None:
    pytest.skip("the extra 'slurm' is not installed", allow_module_level=True)

from distres.engine import slurm_jobs

HOST = Path(__file__).parent / "slurm_host.sh"


@pytest.fixture(scope="module")
def slurm():
    """A running SLURM of this host, stopped at the end."""
    started = subprocess.run([HOST, "start"], capture_output=True, text=True, timeout=240)
    if started.returncode != 0:
        pytest.skip(f"no SLURM could be started: {started.stderr.strip()[-300:]}")
    folder = started.stdout.strip()
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    try:
        yield folder
    finally:
        del os.environ["SLURM_CONF"]
        subprocess.run([HOST, "stop", folder], timeout=120)


@pytest.fixture
def site(slurm, tmp_path):
    """Write a profile for that SLURM and return its file."""

    def write(**changes):
        settings = {
            "kind": "slurm",
            "partition": "cpu",
            "walltime": "00:10:00",
            "memory": "700MB",
            "workers": 2,
            "interface": "lo",
            "shared_directory": str(tmp_path / "keys"),
            "log_directory": str(tmp_path / "logs"),
            **changes,
        }
        file = tmp_path / "site.json"
        file.write_text(json.dumps(settings))
        return str(file)

    return write


def queued():
    text = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True).stdout
    return text.split()


def mark_real(test):
    # Waits below are for conditions; this limit is for a machine that does much else.
    return pytest.mark.cluster(pytest.mark.slow(pytest.mark.timeout(600)(test)))


def addresses(executor):
    return set(executor.client.scheduler_info(n_workers=-1)["workers"])


@pytest.fixture
def expected(tmp_path, make_job, everything):
    """Bits of the quiet run in this process."""

    def compute(job):
        run = Run.open(tmp_path / "expected")
        with open_executor() as executor:
            return everything(run, run_job(job, run=run, executor=executor))

    return compute


@mark_real
def test_the_bits_are_those_of_one_process(tmp_path, site, make_job, everything, expected, until):
    job = make_job(core=12)
    with open_executor(site()) as executor:
        assert executor.kind == "slurm"
        assert executor.client.scheduler.address.startswith("tls://")
        executor.client.wait_for_workers(2, timeout=240)
        numbers = executor.client.run(os.getenv, "SLURM_JOB_ID")
        assert sorted(numbers.values()) == sorted(queued())
        keys = list((tmp_path / "keys").rglob("*.pem"))
        assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
        run = Run.open(tmp_path / "run")
        table = run_job(job, run=run, executor=executor)
    assert everything(run, table) == expected(make_job(core=job.plan.core[0]))
    until(lambda: not queued())
    assert not list((tmp_path / "keys").iterdir())


@mark_real
def test_a_job_cancelled_mid_run_costs_nothing_but_time(
    tmp_path, site, make_job, everything, expected, monkeypatch, hold
):
    monkeypatch.setattr(watchdog, "MISSING_SECONDS", 4.0)
    job = make_job(core=8)
    hold.touch()
    cancelled, replaced = [], []

    def cancel(progress):
        if progress.done >= 4 and not cancelled:
            cancelled.extend(queued()[:1])
            subprocess.run(["scancel", *cancelled], check=True)
        # Only a run heals its cluster: it must last until the other job has come.
        if cancelled and len(addresses(executor)) == 2 and addresses(executor) - first:
            replaced.append(progress.done)
            hold.unlink(missing_ok=True)

    with open_executor(site(), watcher=cancel) as executor:
        executor.client.wait_for_workers(2, timeout=240)
        first = addresses(executor)
        run = Run.open(tmp_path / "run")
        table = run_job(job, run=run, executor=executor)
        assert replaced[0] < len(job.plan)
        assert cancelled[0] not in queued()
    assert everything(run, table) == expected(job)


@mark_real
def test_workers_that_end_at_their_wall_time_are_replaced(
    tmp_path, site, make_job, everything, expected, monkeypatch, hold
):
    monkeypatch.setattr(watchdog, "MISSING_SECONDS", 4.0)
    # Long enough to load torch and compute a tile on a loaded machine.
    monkeypatch.setattr("distres.engine.slurm_settings.SlurmSettings.lifetime_seconds", (20, 2))
    monkeypatch.setattr(slurm_jobs, "SETTLE_SECONDS", 5.0)
    job = make_job(core=8)
    hold.touch()
    seen = set()

    def watch(progress):
        if hold.exists():
            seen.update(addresses(executor))
            # Two workers a time: with a fourth, both of the first have been replaced.
            if len(seen) >= 4:
                hold.unlink()

    with open_executor(site(), watcher=watch) as executor:
        run = Run.open(tmp_path / "run")
        table = run_job(job, run=run, executor=executor)
    assert len(seen) >= 4, "the run ended before its workers did"
    assert len(list((tmp_path / "logs").glob("*.err"))) >= 4
    assert everything(run, table) == expected(job)


@mark_real
def test_a_partition_that_does_not_exist_is_refused_with_slurms_words(site):
    # It would wait this long for a job in the queue: longer than this test may take.
    spec = site(partition="nowhere", patience_seconds=3600)
    with (
        pytest.raises(ClusterError, match=r"SLURM refuses the worker jobs.*invalid partition"),
        open_executor(spec),
    ):
        pass


@mark_real
def test_a_prologue_that_fails_ends_with_the_last_line_of_its_log(site, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "SETTLE_SECONDS", 3.0)
    monkeypatch.setattr(slurm_jobs, "LOOK_SECONDS", 1.0)
    broken = ["echo no such module >&2", "exit 1"]
    with (
        pytest.raises(ClusterError, match=r"worker jobs ended before.*no such module"),
        open_executor(site(prologue=broken)),
    ):
        pass


@mark_real
def test_jobs_wait_in_the_queue_without_being_given_up(site, until, caplog):
    def interrupt():
        # Ctrl-C, long after patience would have ended, is what ends the wait.
        until(lambda: "wait in SLURM's queue" in caplog.text)
        time.sleep(2)
        signal.raise_signal(signal.SIGINT)

    caplog.set_level("INFO")
    impatient = threading.Thread(target=interrupt, daemon=True)
    impatient.start()
    with (
        pytest.raises(RunInterrupted, match="waited in SLURM"),
        open_executor(site(partition="closed", patience_seconds=1)),
    ):
        pytest.fail("a job of a closed partition ran")
    impatient.join()
    until(lambda: not queued())


@mark_real
def test_one_gpu_a_job_is_asked_for_and_offered(site):
    with open_executor(site(gpus=1)) as executor:
        assert executor.resources == {"GPU": 1}
        executor.client.wait_for_workers(2, timeout=240)
        devices = executor.client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(devices.values()) == ["0", "1"]
        workers = executor.client.scheduler_info(n_workers=-1)["workers"].values()
        assert [worker["resources"] for worker in workers] == [{"GPU": 1.0}] * 2


@mark_real
def test_jobs_of_a_client_that_was_killed_end_by_themselves(tmp_path, site, until):
    driver = Path(__file__).parent / "driver.py"
    # A worker that has just started must reach the client in this time.
    spec = site(patience_seconds=20)
    command = [sys.executable, driver, tmp_path, tmp_path / "run", spec, "0.5"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "ready\n"
        until(lambda: list((tmp_path / "calls").iterdir()))
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    assert queued()
    until(lambda: not queued())


def distres_of_tests(*arguments, **settings):
    program = Path(sys.executable).parent / "distres"
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=300, **settings
    )


@mark_real
def test_a_site_is_checked_by_one_command(site, tmp_path):
    checked = distres_of_tests("cluster", "check", "--cluster", site(), "-j", "1", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "slurm: 1 workers of 700000000 bytes" in checked.stdout
    assert f"sees {tmp_path} and has this version" in checked.stdout
    assert not queued()


@mark_real
@pytest.mark.parametrize("name", ["one_job", "client"])
def test_the_scripts_for_users_complete_a_run(slurm, site, tmp_path, name, until):
    deploy = Path(__file__).resolve().parents[2] / "deploy" / "slurm"
    distres_of_tests("phantom", "blob", "--shape", "32", "--seed", "3", "-o", tmp_path / "in")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DISTRES_CLUSTER": site(),
        "DISTRES_MEMORY": "700MB",
        "DISTRES_COMMAND": "mask",
    }
    size = ["--ntasks=2", "--mem-per-cpu=1500M"] if name == "one_job" else ["--mem=1500M"]
    command = ["sbatch", "--time=5", *size, deploy / f"{name}.sbatch"]
    run = ["in/blob_half1.mrc", "in/blob_half2.mrc", "--output", "run"]
    subprocess.run([*command, *run], env=environment, cwd=tmp_path, check=True, timeout=120)
    until(lambda: not queued(), 400)
    log = "\n".join(file.read_text() for file in tmp_path.glob("distres-*.log"))
    assert list((tmp_path / "run").glob("*mask*.mrc")), log
    assert not list(tmp_path.glob(".distres-*"))
