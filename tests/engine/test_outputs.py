"""Outputs are stored a shard a tile, and what is on disk must be what is asked for."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from distres.engine.jobs import OutputSpec, TileJob, TileResult
from distres.engine.outputs import inner_edge, open_output, write_part
from distres.engine.process import settle_process
from distres.engine.tiles import TilePlan
from distres.errors import ResumeError


def make_job(core=16, shape=(40, 40, 40)):
    plan = TilePlan(shape=shape, core=(core,) * 3, halo=(0, 0, 0))
    return TileJob(name="t", plan=plan, function=lambda *_: TileResult(), inputs={})


@given(st.integers(1, 2000))
def test_the_read_unit_divides_the_shard(edge):
    assert edge % inner_edge(edge) == 0


@pytest.mark.parametrize(("edge", "chunk"), [(64, 64), (256, 64), (160, 80), (96, 48), (131, 131)])
def test_the_read_unit_is_about_64(edge, chunk):
    assert inner_edge(edge) == chunk


def test_a_tile_that_is_all_fill_value_still_writes_its_file(tmp_path):
    job, spec, store = make_job(), OutputSpec(), str(tmp_path / "s.zarr")
    open_output(store, "a/out", spec, job, "x")
    settle_process()
    write_part(store, "a/out", spec, job.plan.tile(0), np.full((16,) * 3, np.nan, np.float32))
    assert (tmp_path / "s.zarr" / "a" / "out" / "c" / "0" / "0" / "0").is_file()


def test_each_tile_writes_one_file(tmp_path):
    job, spec, store = make_job(), OutputSpec(lead=(5,)), str(tmp_path / "s.zarr")
    open_output(store, "out", spec, job, "x")
    for tile in job.plan:
        write_part(store, "out", spec, tile, np.ones((5, *tile.core_shape), np.float32))
    files = [p for p in (tmp_path / "s.zarr" / "out" / "c").rglob("*") if p.is_file()]
    assert len(files) == len(job.plan)


def test_integers_are_filled_with_zero(tmp_path):
    job, store = make_job(), str(tmp_path / "s.zarr")
    open_output(store, "flags", OutputSpec(dtype="uint8"), job, "x")
    assert zarr.open_array(store, path="flags")[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("job", "spec", "made_by", "words"),
    [
        (make_job(shape=(41, 40, 40)), OutputSpec(), "x", "shape"),
        (make_job(), OutputSpec(dtype="float64"), "x", "type"),
        (make_job(core=20), OutputSpec(), "x", "shards"),
        (make_job(), OutputSpec(), "y", "fingerprint"),
    ],
)
def test_an_output_that_differs_from_the_one_on_disk_is_refused(
    tmp_path, job, spec, made_by, words
):
    store = str(tmp_path / "s.zarr")
    open_output(store, "out", OutputSpec(), make_job(), "x")
    open_output(store, "out", OutputSpec(), make_job(), "x")
    with pytest.raises(ResumeError, match=words):
        open_output(store, "out", spec, job, made_by)
