"""A run directory belongs to one run at a time, and is never replaced unasked."""

import json
import multiprocessing
import os
import socket
import time

import pytest

from distres.engine import lock
from distres.engine.run import Run
from distres.errors import InputError, OutputExistsError


def test_a_run_is_never_overwritten_unless_asked(tmp_path):
    Run.open(tmp_path / "run").close()
    marker = tmp_path / "run" / "run.zarr" / "marker"
    marker.touch()
    with pytest.raises(OutputExistsError, match="--resume"):
        Run.open(tmp_path / "run")
    assert marker.exists()
    Run.open(tmp_path / "run", resume=True)
    assert marker.exists()


def test_a_run_that_ended_before_its_first_job_is_no_obstacle(tmp_path):
    run = Run.open(tmp_path / "run")
    run.remember("plans", "a", [1, 2, 3])
    run.close()
    again = Run.open(tmp_path / "run")
    assert again.remembered("plans") == {}


def test_a_refused_directory_is_left_unlocked(tmp_path):
    run = Run.open(tmp_path / "run")
    run.write_record({})
    run.close()
    with pytest.raises(OutputExistsError):
        Run.open(tmp_path / "run")
    assert not (tmp_path / "run" / "run.lock").exists()


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    run = Run.open(tmp_path / "run")
    run.write_record({"method": "m"})
    run.ledger_directory("job").mkdir(parents=True)
    mine = run.directory / "notes.txt"
    mine.write_text("keep me")
    run = Run.open(tmp_path / "run", overwrite=True)
    assert sorted(p.name for p in run.directory.iterdir()) == ["notes.txt", "run.lock", "run.zarr"]
    assert mine.read_text() == "keep me"


def test_resuming_sweeps_the_halves_of_shards(tmp_path):
    run = Run.open(tmp_path / "run")
    half = run.store_path / "out" / "c" / "0.1234.partial"
    half.parent.mkdir(parents=True)
    half.touch()
    Run.open(tmp_path / "run", resume=True)
    assert not half.exists()


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        Run.open(tmp_path / "file")


def hold_for_a_while(directory, held):
    Run.open(directory)
    held.set()
    time.sleep(60)


def test_two_processes_cannot_hold_one_run_and_a_dead_one_holds_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold_for_a_while, args=(tmp_path / "run", held))
    other.start()
    assert held.wait(30)
    with pytest.raises(OutputExistsError, match=f"in use by process {other.pid}"):
        Run.open(tmp_path / "run", resume=True)
    other.kill()
    other.join()
    Run.open(tmp_path / "run", resume=True).close()
    assert not (tmp_path / "run" / "run.lock").exists()


@pytest.mark.parametrize(("age", "free"), [(0, False), (2 * lock.STALE_SECONDS, True)])
def test_a_lock_of_another_host_goes_stale_without_its_heartbeat(tmp_path, age, free):
    path = tmp_path / "run.lock"
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "started": 0}))
    then = time.time() - age
    os.utime(path, (then, then))
    if free:
        Run.open(tmp_path).close()
    else:
        with pytest.raises(OutputExistsError, match="on host elsewhere"):
            Run.open(tmp_path)


def test_a_process_number_used_again_is_not_the_old_owner(tmp_path):
    path = tmp_path / "run.lock"
    owner = {"host": socket.gethostname(), "process": os.getppid(), "started": 1.0}
    path.write_text(json.dumps(owner))
    Run.open(tmp_path).close()


def test_the_same_process_may_open_a_run_again(tmp_path):
    Run.open(tmp_path / "run")
    Run.open(tmp_path / "run", resume=True)


def test_choices_are_remembered_by_the_directory(tmp_path):
    run = Run.open(tmp_path / "run")
    run.remember("plans", "a", [1, 2, 3])
    run.remember("plans", "b", [4])
    assert Run(directory=tmp_path / "run").remembered("plans") == {"a": [1, 2, 3], "b": [4]}
    assert run.remembered("other") == {}
