"""Disks that turn read-only, chunks that rot, clocks that jump."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import zarr

from distres.engine import progress
from distres.engine.cluster import open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.errors import ClusterError, OutputExistsError

pytestmark = pytest.mark.cluster
SHAPE = (37, 40, 33)


def scale(inputs, parameters):
    """Scale a core."""
    core = inputs.core("map") * parameters["gain"]
    return TileResult(arrays={parameters["output"]: core}, row={"sum": float(core.sum())})


def job_of(source, name, gain):
    return TileJob(
        name=f"make {name}",
        plan=TilePlan(shape=SHAPE, core=(16, 16, 16), halo=(0, 0, 0)),
        function=scale,
        inputs={"map": source},
        outputs={name: OutputSpec()},
        parameters={"gain": gain, "output": name},
    )


@pytest.fixture
def source(make_job):
    return make_job().inputs["map"]


def chain(run, source, executor):
    """Run two jobs, the second on what the first left."""
    run_job(job_of(source, "first", 2.0), run=run, executor=executor)
    table = run_job(job_of(output(run, "first"), "second", 0.5), run=run, executor=executor)
    return zarr.open_array(run.store, path="second", mode="r")[...].tobytes(), table


@pytest.fixture
def expected(tmp_path, source):
    with open_executor() as executor, Run.open(tmp_path / "expected") as run:
        return chain(run, source, executor)[0]


def flip(data):
    data[len(data) // 3] ^= 0x10


def cut(data):
    del data[len(data) // 2 :]


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_chunk_that_rots_on_disk_is_found_and_made_again(tmp_path, source, expected, damage):
    with open_executor() as executor, Run.open(tmp_path / "run") as run:
        run_job(job_of(source, "first", 2.0), run=run, executor=executor)
        shard = tmp_path / "run/run.zarr/first/c/1/1/0"
        data = bytearray(shard.read_bytes())
        damage(data)
        shard.write_bytes(data)
        following = job_of(output(run, "first"), "second", 0.5)
        with pytest.raises(ClusterError, match=r"first in .* is damaged within z 16:32") as caught:
            run_job(following, run=run, executor=executor)
        assert "remove ledger/make_first of that run and go on with --resume" in str(caught.value)
        shutil.rmtree(tmp_path / "run/ledger/make_first")
        assert chain(run, source, executor)[0] == expected


@pytest.mark.parametrize("length", [0, 7])
def test_a_shard_left_empty_by_a_machine_that_lost_power_is_made_again(
    tmp_path, source, expected, length, caplog
):
    with open_executor() as executor, Run.open(tmp_path / "run") as run:
        run_job(job_of(source, "first", 2.0), run=run, executor=executor)
        os.truncate(tmp_path / "run/run.zarr/first/c/1/1/0", length)
        table = run_job(job_of(source, "first", 2.0), run=run, executor=executor)
        assert table.stats.computed == 1
        assert "computed again" in caplog.text
        assert chain(run, source, executor)[0] == expected


@pytest.fixture
def small_disk(mount_disk):
    """Return a folder on a disk of its own."""
    return mount_disk("20m")


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def test_an_output_that_turns_read_only_leaves_the_run_resumable(
    small_disk, source, expected, monkeypatch
):
    monkeypatch.setattr(progress, "SHOW_SECONDS", 0.0)

    def lock_disk(state):
        if state.done == 8:
            remount(small_disk, "ro")

    with Run.open(small_disk / "run") as run:
        with (
            open_executor(watcher=lock_disk) as executor,
            pytest.raises(ClusterError, match=r"Read-only file system.*--resume"),
        ):
            chain(run, source, executor)
        remount(small_disk, "rw")
    with open_executor() as executor, Run.open(small_disk / "run", resume=True) as run:
        assert chain(run, source, executor)[0] == expected


def test_a_read_only_place_is_refused_at_once(small_disk):
    remount(small_disk, "ro")
    with pytest.raises(Exception, match=r"cannot be written|Read-only file system") as caught:
        Run.open(small_disk / "run")
    assert "\n" not in str(caught.value)


def test_a_clock_that_jumps_by_hours_changes_nothing(tmp_path, source, expected, monkeypatch):
    real = time.time
    jumps = iter([0, 7200, -7200, 86400, -86400] * 1000)
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    with open_executor() as executor, Run.open(tmp_path / "run") as run:
        assert chain(run, source, executor)[0] == expected
        status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["done"] == status["total"]


@pytest.mark.parametrize("ahead", [-86400, 86400])
def test_a_lock_of_a_host_whose_clock_is_wrong_is_judged_by_the_disk(tmp_path, ahead, monkeypatch):
    Run.open(tmp_path / "run").close()
    lock = tmp_path / "run/run.lock"
    # A living process of another host; this host's own clock is a day off.
    lock.write_text(json.dumps({"host": "elsewhere", "process": 1, "started": 0.0}))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    with pytest.raises(OutputExistsError, match="in use by process 1 on host elsewhere"):
        Run.open(tmp_path / "run", resume=True)
    assert socket.gethostname() != "elsewhere"
    os.utime(lock, (0, 0))
    Run.open(tmp_path / "run", resume=True).close()


def test_a_half_written_shard_counts_for_nothing(tmp_path, source, expected):
    with Run.open(tmp_path / "run") as run:
        half = Path(str(run.store)) / "first/c/0/0/0.1234.partial"
        half.parent.mkdir(parents=True)
        half.write_bytes(b"half of a shard")
    with open_executor() as executor, Run.open(tmp_path / "run", resume=True) as run:
        assert chain(run, source, executor)[0] == expected
    assert not half.exists()
