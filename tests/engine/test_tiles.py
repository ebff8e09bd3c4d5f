"""Tiles partition any volume, odd and thin ones too."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distres.engine.jobs import OutputSpec, TileJob, TileResult
from distres.engine.outputs import storage_units
from distres.engine.tiles import TilePlan
from distres.errors import UsageError

edges = st.integers(1, 23)
shapes = st.tuples(edges, edges, edges)
plans = st.builds(
    lambda shape, core, halo: TilePlan(shape=shape, core=core, halo=halo),
    shapes,
    st.tuples(*[st.integers(2, 30)] * 3),
    st.tuples(*[st.integers(0, 12)] * 3),
)


def make_job(plan, **outputs):
    return TileJob(
        name="t", plan=plan, function=lambda *_: TileResult(), inputs={}, outputs=outputs
    )


@given(plans)
def test_every_voxel_has_exactly_one_writer(plan):
    writers = np.zeros(plan.shape, int)
    for tile in plan:
        writers[tile.core] += 1
    assert (writers == 1).all()


windowed = st.builds(
    lambda plan, ends: replace(
        plan,
        window=tuple(
            slice(min(a % n, b % n), max(a % n, b % n) + 1)
            for n, (a, b) in zip(plan.shape, ends, strict=True)
        ),
    ),
    plans,
    st.tuples(*[st.tuples(edges, edges)] * 3),
)


@given(windowed)
def test_a_window_is_written_once_and_nothing_else_is(plan):
    writers = np.zeros(plan.shape, int)
    for tile in plan:
        writers[tile.core] += 1
        assert all(
            s.stop - s.start <= most for s, most in zip(tile.read, plan.read_shape, strict=True)
        )
        # The shard that it writes is its own: no other core lies in it.
        assert all(
            s.start // c == (s.stop - 1) // c for s, c in zip(tile.core, plan.core, strict=True)
        )
    assert (writers[plan.window] == 1).all()
    assert writers.sum() == prod(s.stop - s.start for s in plan.window)


@given(plans)
def test_a_read_is_core_plus_halo_clipped_to_the_volume(plan):
    for tile in plan:
        for axis in range(3):
            core, read, halo = tile.core[axis], tile.read[axis], plan.halo[axis]
            assert read.start == max(core.start - halo, 0)
            assert read.stop == min(core.stop + halo, plan.shape[axis])
            before, after = tile.missing[axis]
            assert core.start - read.start + before == halo
            assert read.stop - core.stop + after == halo


@given(plans)
def test_the_crop_recovers_the_core(plan):
    volume = np.arange(prod(plan.shape)).reshape(plan.shape)
    for tile in plan:
        assert (volume[tile.read][tile.crop] == volume[tile.core]).all()


@given(plans)
def test_overhead_counts_the_voxels_that_are_read(plan):
    read = sum(prod(s.stop - s.start for s in tile.read) for tile in plan)
    assert plan.overhead == read / prod(plan.shape)
    assert all(prod(s.stop - s.start for s in tile.read) <= prod(plan.read_shape) for tile in plan)


@given(plans, st.integers(1, 4), st.sampled_from([(), (3,), (2, 5)]))
def test_no_two_tiles_write_into_one_shard(plan, divisor, lead):
    job, spec = make_job(plan), OutputSpec(divisor=divisor, lead=lead)
    crowded = any(c < n and c % divisor for c, n in zip(plan.core, plan.shape, strict=True))
    if crowded:
        with pytest.raises(UsageError, match="two tiles would write one file"):
            storage_units(spec, job)
        return
    chunks, shards = storage_units(spec, job)
    assert all(s % c == 0 for s, c in zip(shards, chunks, strict=True))
    assert chunks[: len(lead)] == (1,) * len(lead)
    owners: dict[tuple[int, ...], int] = {}
    for tile in plan:
        region = spec.region(tile)
        corners = [
            range(s.start // e, -(-s.stop // e)) for s, e in zip(region, shards[-3:], strict=True)
        ]
        for z in corners[0]:
            for y in corners[1]:
                for x in corners[2]:
                    assert owners.setdefault((z, y, x), tile.index) == tile.index


@given(plans, st.integers(1, 4))
def test_parts_of_a_coarser_output_partition_it(plan, divisor):
    if any(c < n and c % divisor for c, n in zip(plan.core, plan.shape, strict=True)):
        return
    spec = OutputSpec(divisor=divisor)
    writers = np.zeros([-(-n // divisor) for n in plan.shape], int)
    for tile in plan:
        writers[spec.region(tile)] += 1
    assert (writers == 1).all()


def test_a_plan_without_voxels_is_refused():
    with pytest.raises(UsageError, match="positive"):
        TilePlan(shape=(0, 4, 4), core=(2, 2, 2), halo=(0, 0, 0))


def test_a_tile_beyond_the_plan_is_refused():
    with pytest.raises(IndexError):
        TilePlan(shape=(4, 4, 4), core=(2, 2, 2), halo=(0, 0, 0)).tile(8)
