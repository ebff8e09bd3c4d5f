"""The planner takes the largest tile that fits, and refuses with the memory that would do."""

import re
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.engine.jobs import OutputSpec, TileJob, TileResult
from distres.engine.outputs import storage_units
from distres.engine.planner import WHOLE_VOXELS, Focus, memory_needed, plan_tiles
from distres.engine.run import Run
from distres.errors import ClusterError

MB = 10**6


def plan(edge, *, memory=2000 * MB, halo=16, workers=1, voxel=24.0, **more):
    return plan_tiles(
        (edge,) * 3,
        halo=(halo,) * 3,
        bytes_per_voxel=voxel,
        memory_bytes=memory,
        workers=workers,
        **more,
    )


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_a_small_volume_is_one_tile_whatever_the_workers(workers):
    assert len(plan(160, workers=workers)) == 1
    assert WHOLE_VOXELS == 160**3


def test_a_focus_reads_little_more_than_its_window():
    """Around a rod in a volume of 256^3 a tile reads the rod and its halo, not the volume."""
    window = (slice(3, 125), slice(101, 155), slice(101, 155))

    def count(plan):
        # Tiles that the window touches.
        return prod(
            (part.stop - 1) // core - part.start // core + 1
            for part, core in zip(window, plan.core, strict=True)
        )

    chosen = plan(256, multiple=8, focus=Focus(window=window, count=count))
    assert chosen.window == (slice(0, 128), slice(96, 160), slice(96, 160))
    read = sum(prod(s.stop - s.start for s in tile.read) for tile in chosen)
    # One tile: 144 x 96 x 96 with halos of 16.
    assert read <= 1.5 * 144 * 96 * 96
    assert len(plan(256, multiple=8, memory=8000 * MB)) == 1


def test_one_worker_takes_a_volume_that_fits_as_one_tile():
    assert len(plan(300, memory=4000 * MB)) == 1


def test_many_workers_get_tiles_to_share():
    chosen = plan(512, workers=16, memory=64000 * MB)
    assert len(chosen) >= 2 * 16


def test_tiles_without_halo_are_not_cut_into_crumbs():
    for workers in (2, 8):
        chosen = plan_tiles(
            (1024,) * 3, halo=(0,) * 3, bytes_per_voxel=60, workers=workers, memory_bytes=2000 * MB
        )
        # Their overhead then costs less than a tenth of the voxels' own time.
        assert len(chosen) * 64**3 < 0.1 * 1024**3


def test_less_memory_makes_smaller_tiles():
    sizes = [max(plan(800, memory=m * MB).core) for m in (1000, 2000, 8000)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_tile_edge_that_is_given_is_taken():
    assert plan(200, tile=48).core == (48, 48, 48)
    assert plan(200, tile=50, multiple=4).core == (52, 52, 52)


def test_a_budget_too_small_names_the_smallest_that_works():
    with pytest.raises(ClusterError) as caught:
        plan(500, memory=300 * MB)
    needed = int(re.search(r"--memory (\d+)MB", str(caught.value))[1])
    assert len(plan(500, memory=needed * MB)) > 1
    with pytest.raises(ClusterError, match="--memory"):
        # Rounding up to whole megabytes is all the slack there is.
        plan(500, memory=(needed - 1) * MB)


def test_a_tile_too_large_for_the_memory_is_refused_with_what_it_needs():
    with pytest.raises(ClusterError, match=r"the tile of --tile, 400 x 400 x 400 .* lower --tile"):
        plan(500, tile=400, memory=1000 * MB)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(1, 700)] * 3),
    st.integers(0, 40),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4, 6]),
    st.integers(600, 6000),
)
def test_what_is_chosen_fits_feeds_and_can_be_stored(shape, halo, workers, multiple, memory):
    try:
        chosen = plan_tiles(
            shape,
            halo=(halo,) * 3,
            bytes_per_voxel=24.0,
            memory_bytes=memory * MB,
            workers=workers,
            multiple=multiple,
        )
    except ClusterError:
        assert halo > 10
        return
    assert memory_needed(chosen, bytes_per_voxel=24.0) <= memory * MB
    assert all(core % multiple == 0 for core in chosen.core)
    job = TileJob(name="t", plan=chosen, function=lambda *_: TileResult(), inputs={})
    storage_units(OutputSpec(divisor=multiple), job)


def test_a_resumed_run_keeps_its_tiles_on_another_machine(tmp_path):
    run = Run.open(tmp_path / "run")
    first = plan(400, workers=1, memory=1500 * MB, run=run)
    again = Run.open(tmp_path / "run", resume=True)
    assert plan(400, workers=8, memory=9000 * MB, run=again) == first
    assert plan(400, workers=8, memory=9000 * MB) != first
    with pytest.raises(ClusterError, match="the tile this run was begun with"):
        plan(400, memory=600 * MB, run=again)
    anew = Run.open(tmp_path / "run", overwrite=True)
    assert plan(400, memory=700 * MB, run=anew) != first
