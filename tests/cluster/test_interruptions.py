"""Clients that die or are stopped, and disks that fill: what is done stays done."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import zarr

from distres.engine.ledger import Ledger, stored_fingerprint

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DRIVER = Path(__file__).with_name("driver.py")
TILES = 216


def start(folder, run, *, spec="local", seconds=0.05, edge=6):
    arguments = [sys.executable, DRIVER, folder, run, spec, str(seconds), str(edge)]
    # Its own process group, as a terminal gives it: Ctrl-C reaches its workers too.
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(process, timeout=280):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def calls(folder):
    return Counter(int(p.name.split("-")[0]) for p in (folder / "calls").iterdir())


def done(run):
    directory = run / "ledger" / "scale"
    fingerprint = stored_fingerprint(directory)
    return Ledger.open(directory, fingerprint, job="scale").done if fingerprint else set()


def outputs(run):
    return zarr.open_array(str(run / "run.zarr"), path="out", mode="r")[...].tobytes()


def wait_for_tiles(process, folder, count):
    while sum(calls(folder).values()) < count:
        assert process.poll() is None, "the client ended too early"
        time.sleep(0.02)


def test_a_client_killed_five_times_loses_no_finished_tile(tmp_path):
    expected = tmp_path / "expected"
    expected.mkdir()
    code, truth, _ = finish(start(expected, expected / "run", spec="none", seconds=0))
    assert code == 0

    run = tmp_path / "run"
    dice = random.Random(11)
    kept: dict[int, int] = {}
    for _ in range(5):
        process = start(tmp_path, run, seconds=0.1)
        begun = sum(calls(tmp_path).values())
        wait_for_tiles(process, tmp_path, begun + dice.randint(1, 20))
        time.sleep(dice.uniform(0, 0.8))
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=120)
        assert not alive, "workers outlived their client"
        now = calls(tmp_path)
        kept |= {tile: now[tile] for tile in done(run) if tile not in kept}
    assert 0 < len(kept) < TILES
    code, out, err = finish(start(tmp_path, run, seconds=0.1))
    assert code == 0, err
    # The whole stdout but the count of tiles computed: the reduction's bits.
    assert out.split()[-1] == truth.split()[-1]
    assert outputs(run) == outputs(expected / "run")
    assert not list((run / "run.zarr").rglob("*.partial"))
    final = calls(tmp_path)
    assert {tile: final[tile] for tile in kept} == kept
    assert int(out.split()[1]) <= TILES - len(kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("spec", ["local", "none"])
def test_a_stopped_run_says_how_to_go_on_and_does(tmp_path, number, spec):
    run = tmp_path / "run"
    process = start(tmp_path, run, spec=spec, seconds=0.1, edge=12)
    wait_for_tiles(process, tmp_path, 3)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    code, _, err = finish(process)
    assert code == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    finished = done(run)
    # A gentle stop keeps the tiles that were being computed; one a worker may be handed out at
    # the very moment the others are withdrawn, and is computed again.
    lost = set(calls(tmp_path)) - finished
    assert len(lost) <= (2 if spec == "local" else 0)
    code, out, err = finish(start(tmp_path, run, spec=spec, seconds=0.1, edge=12))
    assert code == 0, err
    assert int(out.split()[1]) == 27 - len(finished)
    assert all(times == 1 for tile, times in calls(tmp_path).items() if tile not in lost)


def test_a_second_client_is_refused_while_the_first_runs(tmp_path):
    run = tmp_path / "run"
    (tmp_path / "hold").touch()
    first = start(tmp_path, run, spec="none", seconds=0.01, edge=12)
    second = subprocess.run(
        [sys.executable, DRIVER, tmp_path, run, "none", "0.01", "12"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    (tmp_path / "hold").unlink()
    assert second.returncode == 3
    assert f"in use by process {first.pid}" in second.stderr
    assert finish(first)[0] == 0


def test_a_changed_parameter_on_resume_is_refused_and_named(tmp_path):
    run = tmp_path / "run"
    assert finish(start(tmp_path, run, spec="none", seconds=0, edge=12))[0] == 0
    code, _, err = finish(start(tmp_path, run, spec="none", seconds=0.5, edge=12))
    assert code == 3
    assert "parameters.seconds was 0.0 and is 0.5 now" in err


@pytest.mark.parametrize("spec", ["none", "local"])
def test_a_full_disk_leaves_the_run_resumable(tmp_path, mount_disk, spec):
    small_disk = mount_disk("200k")
    run = small_disk / "run"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(120_000))
    code, _, err = finish(start(tmp_path, run, spec=spec, seconds=0.01, edge=12))
    assert code == 4, err
    assert "No space left on device" in err
    assert "--resume" in err
    assert "Traceback" not in err
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    kept = done(run)
    code, out, err = finish(start(tmp_path, run, spec=spec, seconds=0.01, edge=12))
    assert code == 0, err
    assert int(out.split()[1]) == 27 - len(kept)
    expected = tmp_path / "expected"
    expected.mkdir()
    finish(start(expected, expected / "run", spec="none", seconds=0, edge=12))
    assert outputs(run) == outputs(expected / "run")
