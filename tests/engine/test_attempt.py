"""A few tiles stand for all: times are fitted to what tiles do, arrays go on as their part does."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from distres.engine import attempt
from distres.engine.cluster import open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.rehearsal import Rehearsal, Repeated, current, rehearsing
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan


@given(
    st.lists(st.floats(0.001, 100), min_size=1, max_size=30), st.integers(min_value=1, max_value=8)
)
def test_handing_out_takes_no_less_than_any_schedule_and_less_than_one_tile_more(seconds, workers):
    found = attempt.makespan(seconds, workers)
    least = max(sum(seconds) / workers, max(seconds))
    assert found >= least * (1 - 1e-12)
    # Graham's bound for list scheduling.
    assert found <= (sum(seconds) / workers + max(seconds)) * (1 + 1e-12)
    assert attempt.makespan(seconds, 1) == pytest.approx(sum(seconds))


@given(st.floats(0, 1), st.floats(0.01, 1), st.integers(0, 2**31))
def test_times_that_follow_the_model_are_forecast_exactly(base, slope, seed):
    rng = np.random.default_rng(seed)
    voxels, shares = rng.uniform(1e3, 1e6, 50), rng.uniform(0, 1, 50)
    seconds = 1e-6 * voxels * (base + slope * shares)
    picked = [0, 7, 21, 48]
    found = attempt._forecast(voxels, shares, picked, seconds[picked])
    # Two unknowns and four equations without noise: exact but for rounding.
    np.testing.assert_allclose(found, seconds, rtol=1e-6)


def test_a_repeated_part_is_read_as_if_it_went_on_for_ever(tmp_path):
    values = np.random.default_rng(0).standard_normal((2, 12, 13, 14), dtype=np.float32)
    store = str(tmp_path / "a.zarr")
    zarr.create_array(store, name="map", data=values)
    part = ((4, 8), (0, 6), (7, 14))
    plain = ZarrSource.of(store, "map")
    source = Repeated(store=store, path="map", shape=plain.shape, part=part)
    known = tuple(slice(*ends) for ends in part)
    inside = source.read(known)
    np.testing.assert_array_equal(inside, values[:, 4:8, 0:6, 7:14])
    one = source.read((slice(1, 2), *known))
    np.testing.assert_array_equal(one, values[1:2, 4:8, 0:6, 7:14])
    beyond = source.read((slice(8, 12), slice(6, 12), slice(0, 7)))
    np.testing.assert_array_equal(beyond, inside)


def count(inputs, parameters):
    core = inputs.tile.core_shape
    return TileResult(arrays={"made": np.ones(core, np.float32)}, row={"tiles": np.int64(1)})


def test_few_tiles_are_computed_and_later_jobs_see_a_whole_array(tmp_path):
    job = TileJob(
        name="make",
        plan=TilePlan(shape=(64, 64, 64), core=(16, 16, 16), halo=(0, 0, 0)),
        function=count,
        inputs={},
        outputs={"made": OutputSpec()},
    )
    with open_executor() as executor, Run.open(tmp_path / "run") as run:
        with rehearsing(Rehearsal(attempt=attempt.attempt)) as rehearsal:
            table = run_job(job, run=run, executor=executor)
            again = run_job(job, run=run, executor=executor)
            made = output(run, "made").read((slice(0, 64),) * 3)
        assert current() is None
    tried = int(table.sum("tiles"))
    assert attempt.FEWEST <= tried < len(job.plan)
    assert again is table
    assert np.array_equal(made, np.ones((64, 64, 64), np.float32))
    (estimate,) = rehearsal.jobs
    assert (estimate.tiles, estimate.trial_tiles) == (64, tried)
    assert rehearsal.expected_seconds > 0


def test_a_job_that_decides_about_others_is_computed_whole(tmp_path):
    job = TileJob(
        name="check_mask",
        plan=TilePlan(shape=(64, 64, 64), core=(16, 16, 16), halo=(0, 0, 0)),
        function=count,
        inputs={},
        outputs={"made": OutputSpec()},
    )
    rehearsal = Rehearsal(attempt=attempt.attempt, whole=("check_",))
    with open_executor() as executor, Run.open(tmp_path / "run") as run, rehearsing(rehearsal):
        table = run_job(job, run=run, executor=executor)
    assert int(table.sum("tiles")) == 64
    assert rehearsal.expected_seconds == rehearsal.spent_seconds == 0
