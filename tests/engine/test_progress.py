"""Progress counts, estimates and tells."""

import json
import logging

import pytest

from distres.engine import progress as module
from distres.engine.progress import Bar, LogLines, Monitor, Progress, choose_watcher, format_seconds


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_come_from_the_finished_tiles(clock):
    monitor = Monitor(job="j", total=100, done=40, directory=None, watcher=lambda _: None)
    for _ in range(10):
        clock[0] += 2
        monitor.tile_done("a:1", 5)
    state = monitor.snapshot()
    # Ten tiles in twenty seconds; fifty are left.
    assert state.tiles_per_second == pytest.approx(0.5)
    assert state.eta_seconds == pytest.approx(100)
    assert str(state) == "j: 50 of 100 tiles, 0.5 tiles/s, 1 min 40 s left"


def test_before_the_first_tile_nothing_is_promised(clock):
    monitor = Monitor(job="j", total=5, done=2, directory=None, watcher=lambda _: None)
    clock[0] += 30
    assert monitor.snapshot().eta_seconds is None


def test_the_status_file_is_whole_json(tmp_path):
    monitor = Monitor(job="j", total=2, done=0, directory=tmp_path, watcher=lambda _: None)
    monitor.tile_done("host:1", 1234)
    monitor.tick()
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["done"], status["total"], status["state"]) == (1, 2, "running")
    assert status["peak_memory_bytes"] == 1234
    monitor.end("interrupted")
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"


def test_a_status_that_cannot_be_written_ends_nothing(tmp_path):
    monitor = Monitor(
        job="j", total=2, done=0, directory=tmp_path / "absent", watcher=lambda _: None
    )
    monitor.tick()


def test_log_lines_come_now_and_then_and_at_the_end(clock, caplog):
    caplog.set_level(logging.INFO, logger="distres")
    show = LogLines(seconds=30)
    state = Progress(job="j", state="running", total=9, done=1)
    for _ in range(100):
        clock[0] += 1
        show(state)
    assert len(caplog.records) == 3
    show(Progress(job="j", state="finished", total=9, done=9))
    assert caplog.records[-1].getMessage() == "j: 9 of 9 tiles, finished"


def test_watchers_are_told_no_more_often_than_is_useful(clock):
    told = []
    monitor = Monitor(job="j", total=10**6, done=0, directory=None, watcher=told.append)
    for _ in range(1000):
        clock[0] += 0.001
        monitor.tick()
    assert len(told) <= 5


def test_a_bar_ends_with_its_job(capsys):
    bar = Bar()
    bar(Progress(job="j", state="running", total=4, done=1))
    bar(Progress(job="j", state="finished", total=4, done=4))
    assert bar._bar is None


def test_without_a_terminal_lines_are_chosen():
    assert isinstance(choose_watcher(), LogLines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (42, "42 s"), (61, "1 min 01 s"), (3 * 3600 + 120, "3 h 02 min")],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert format_seconds(seconds) == text
