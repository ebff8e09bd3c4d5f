"""The ledger believes nothing that is not whole on disk."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.engine import ledger as module
from distres.engine.fingerprint import differences
from distres.engine.ledger import Ledger
from distres.errors import ClusterError, ResumeError

PRINT = {"parameters": {"step": 0.5}, "version": 1}


def row(tile):
    return {"index": np.asarray(tile), "counts": np.arange(3) + tile}


def fill(directory, tiles, *, batch=4):
    ledger = Ledger.open(directory, PRINT, job="job")
    for n, tile in enumerate(tiles, 1):
        ledger.add(tile, row(tile))
        if n % batch == 0:
            ledger.flush()
    ledger.flush()
    return ledger


def reopen(directory):
    return Ledger.open(directory, PRINT, job="job")


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(11)), st.integers(1, 11))
def test_rows_come_back_in_tile_order_whatever_the_order_of_writing(tmp_path_factory, tiles, batch):
    directory = tmp_path_factory.mktemp("ledger")
    fill(directory, tiles, batch=batch)
    table = reopen(directory).table(range(11))
    assert list(table.tiles) == list(range(11))
    assert list(table.columns["index"]) == list(range(11))
    np.testing.assert_array_equal(table.columns["counts"], np.arange(3) + np.arange(11)[:, None])


def test_a_tile_counts_only_after_the_flush(tmp_path):
    ledger = Ledger.open(tmp_path, PRINT, job="job")
    ledger.add(3, row(3))
    assert reopen(tmp_path).done == set()
    ledger.flush()
    assert reopen(tmp_path).done == {3}


@given(st.integers(1, 60))
@settings(deadline=None, max_examples=20)
def test_a_torn_last_line_costs_that_tile_alone(tmp_path_factory, cut):
    directory = tmp_path_factory.mktemp("ledger")
    fill(directory, range(8))
    path = directory / "tiles.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = reopen(directory).done
    lines = whole[:-cut].rfind(b"\n") + 1
    assert kept == {json.loads(line)["tile"] for line in whole[:lines].splitlines()}
    # What is appended next is not glued to the torn rest.
    fill(directory, range(8, 12))
    assert reopen(directory).done == kept | set(range(8, 12))


def test_a_damaged_segment_costs_its_tiles_alone(tmp_path):
    fill(tmp_path, range(12))
    victim = sorted(tmp_path.glob("rows-*.npz"))[1]
    victim.write_bytes(victim.read_bytes()[:-20])
    ledger = reopen(tmp_path)
    assert ledger.done == {0, 1, 2, 3, 8, 9, 10, 11}
    for tile in (4, 5, 6, 7):
        ledger.add(tile, row(tile))
    ledger.flush()
    assert list(reopen(tmp_path).table(range(12)).columns["index"]) == list(range(12))


def test_a_partial_segment_is_swept(tmp_path):
    fill(tmp_path, range(4))
    (tmp_path / "rows-000009.partial").write_bytes(b"half")
    reopen(tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_many_small_segments_become_few(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MERGE_AT", 8)
    fill(tmp_path, range(40), batch=1)
    assert len(list(tmp_path.glob("rows-*.npz"))) < 10
    assert list(reopen(tmp_path).table(range(40)).columns["index"]) == list(range(40))


def test_a_failed_tile_is_kept_with_its_reason_and_not_done(tmp_path):
    ledger = fill(tmp_path, range(3))
    ledger.fail(3, "Traceback: because")
    ledger.flush()
    assert reopen(tmp_path).done == {0, 1, 2}
    assert "because" in (tmp_path / "tiles.jsonl").read_text()


def test_a_missing_row_is_an_error_not_a_wrong_table(tmp_path):
    ledger = fill(tmp_path, range(3))
    with pytest.raises(ClusterError, match="no row of 1 tiles, first 7"):
        ledger.table([0, 7])


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path, monkeypatch):
    ledger = fill(tmp_path, range(4))
    before = (tmp_path / "tiles.jsonl").read_bytes()
    ledger.add(4, row(4))
    sync = os.fsync
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ledger.flush()
    monkeypatch.setattr(os, "fsync", sync)
    assert (tmp_path / "tiles.jsonl").read_bytes() == before
    ledger.flush()
    assert list(reopen(tmp_path).table(range(5)).columns["index"]) == list(range(5))


def test_a_changed_fingerprint_is_refused_with_both_values(tmp_path):
    fill(tmp_path, range(2))
    with pytest.raises(ResumeError, match=r"parameters\.step was 0\.5 and is 0\.25 now"):
        Ledger.open(tmp_path, {**PRINT, "parameters": {"step": 0.25}}, job="job")


def test_a_damaged_fingerprint_is_refused(tmp_path):
    fill(tmp_path, range(2))
    (tmp_path / "job.json").write_text("{")
    with pytest.raises(ResumeError, match="damaged"):
        reopen(tmp_path)


def test_differences_tell_what_came_and_went():
    old = {"inputs": {"a": {"size": 1}}, "x": [1, 2]}
    new = {"inputs": {"a": {"size": 1}, "b": {"size": 2}}, "x": [1, 2]}
    assert differences(old, new) == ["inputs.b.size was absent and is 2 now"]
    assert differences(new, old) == ["inputs.b.size was 2 and is absent now"]
    assert differences(old, old) == []
    assert differences({"x": float("nan")}, {"x": float("nan")}) == []
