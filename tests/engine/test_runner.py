"""Running jobs in this process: rows, failures, order, resuming."""

import errno
import random

import numpy as np
import pytest
import zarr

from distres.engine import runner
from distres.engine.cluster import Executor, open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.packer import Packer
from distres.engine.pools import Finished, LocalPool
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.errors import ClusterError, ResumeError, TileError, UsageError

SHAPE = (41, 30, 17)


def blur(inputs, parameters):
    """Smooth along z with the halo, and give sums whose order of adding matters in float."""
    block = inputs.block("map").astype(np.float64)
    crop = inputs.tile.crop
    smooth = (block + np.roll(block, 1, 0) + np.roll(block, -1, 0))[crop] * parameters["gain"]
    counts = np.histogram(smooth, bins=8, range=(-4, 4))[0]
    return TileResult(
        arrays={"smooth": smooth.astype(np.float32), "bands": np.stack([smooth, -smooth])},
        row={"counts": counts, "sum": float(smooth.sum()), "voxels": smooth.size},
    )


@pytest.fixture
def source(tmp_path):
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    zarr.create_array(str(tmp_path / "in.zarr"), name="map", data=values, chunks=(16, 16, 16))
    return ZarrSource.of(str(tmp_path / "in.zarr"), "map")


def make_job(source, *, function=blur, gain=1.0, **changes):
    settings = {
        "name": "blur",
        "plan": TilePlan(shape=SHAPE, core=(12, 8, 8), halo=(1, 0, 0)),
        "function": function,
        "inputs": {"map": source},
        "outputs": {"smooth": OutputSpec(), "bands": OutputSpec(lead=(2,), dtype="float64")},
        "parameters": {"gain": gain},
    }
    return TileJob(**{**settings, **changes})


def everything(run, table, paths=("smooth", "bands")):
    arrays = [zarr.open_array(run.store, path=path, mode="r")[...] for path in paths]
    return [a.tobytes() for a in [*arrays, *table.columns.values(), table.sum("sum")]]


def test_outputs_and_rows_are_what_the_function_gave(tmp_path, source):
    run = Run.open(tmp_path / "run")
    with open_executor() as executor:
        table = run_job(make_job(source), run=run, executor=executor)
    volume = source.read((slice(None),) * 3).astype(np.float64)
    # The roll wraps only at the volume's ends: with a halo of 1 inner tiles see their neighbours.
    inner = volume[:-2] + volume[1:-1] + volume[2:]
    smooth = output(run, "smooth").read((slice(1, -1), slice(None), slice(None)))
    np.testing.assert_array_equal(smooth, inner.astype(np.float32))
    bands = output(run, "bands")
    assert bands.shape == (2, *SHAPE)
    assert table.sum("voxels") == volume.size
    assert list(table.tiles) == list(range(len(make_job(source).plan)))
    assert table.columns["counts"].shape == (len(table.tiles), 8)


class ShuffledPool(LocalPool):
    """Gives outcomes back in random order, as workers of different speed do."""

    window = 9

    def wait(self, seconds):
        random.Random(len(self._packs)).shuffle(self._packs)
        return super().wait(seconds)


def test_bits_do_not_depend_on_the_order_of_completion(tmp_path, source, monkeypatch):
    with open_executor() as executor:
        run = Run.open(tmp_path / "a")
        expected = everything(run, run_job(make_job(source), run=run, executor=executor))
        monkeypatch.setattr(runner, "make_pool", lambda task, *_: ShuffledPool(task))
        run = Run.open(tmp_path / "b")
        table = run_job(make_job(source), run=run, executor=executor)
    assert everything(run, table) == expected


def flaky(inputs, parameters):
    """Raise at tile 3 until its third try."""
    if inputs.tile.index == 3:
        tries.append(3)
        if len(tries) < parameters["heals_at"]:
            raise ValueError("the moon is wrong")
    return blur(inputs, {"gain": 1.0})


tries: list[int] = []


def test_a_tile_that_raises_twice_is_tried_a_third_time(tmp_path, source):
    tries.clear()
    job = make_job(source, function=flaky, parameters={"heals_at": 3})
    run_job(job, run=Run.open(tmp_path / "run"), executor=Executor())
    assert len(tries) == 3


def test_a_tile_that_keeps_raising_names_itself_and_spares_the_rest(tmp_path, source):
    tries.clear()
    run = Run.open(tmp_path / "run")
    job = make_job(source, function=flaky, parameters={"heals_at": 5})
    with pytest.raises(TileError) as caught:
        run_job(job, run=run, executor=Executor())
    message = str(caught.value)
    assert "blur" in message
    assert "tile 3 (z 0:12, y 8:16, x 0:8)" in message
    assert "ValueError: the moon is wrong" in message
    assert f"{len(job.plan) - 1} of {len(job.plan)} tiles are done" in message
    assert "--resume" in message
    # The fifth try comes with the second of these runs: all others are not computed again.
    with pytest.raises(TileError):
        run_job(
            make_job(source, function=flaky, parameters={"heals_at": 99}, name="other", outputs={}),
            run=run,
            executor=Executor(),
        )
    tries.extend([3, 3])
    table = run_job(job, run=run, executor=Executor())
    assert table.stats.computed == 1
    assert table.stats.resumed == len(job.plan) - 1


def broken(inputs, parameters):
    calls.append(inputs.tile.index)
    raise ZeroDivisionError("never works")


calls: list[int] = []


def test_a_job_whose_tiles_all_fail_ends_early(tmp_path, source):
    calls.clear()
    job = make_job(source, function=broken)
    with pytest.raises(TileError, match="never works"):
        run_job(job, run=Run.open(tmp_path / "run"), executor=Executor())
    assert len(set(calls)) < len(job.plan)


def wrong_shape(inputs, parameters):
    return TileResult(arrays={"smooth": np.zeros((2, 2, 2), np.float32)})


def undeclared(inputs, parameters):
    return TileResult(arrays={"elsewhere": np.zeros((2, 2, 2), np.float32)})


def worded(inputs, parameters):
    return TileResult(row={"name": "text"})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (wrong_shape, "gave shape"),
        (undeclared, "does not declare"),
        (worded, "numbers only"),
    ],
)
def test_a_result_that_breaks_the_contract_is_refused(tmp_path, source, function, words):
    with pytest.raises(TileError, match=words):
        run_job(make_job(source, function=function), run=Run.open(tmp_path), executor=Executor())


def uneven(inputs, parameters):
    return TileResult(row={"a": np.zeros(1 + inputs.tile.index % 2)})


def test_rows_of_different_shapes_are_refused(tmp_path, source):
    with pytest.raises(TileError, match="row holds"):
        run_job(make_job(source, function=uneven), run=Run.open(tmp_path), executor=Executor())


def full_disk(inputs, parameters):
    if inputs.tile.index >= 5 and parameters["full"]:
        raise OSError(errno.ENOSPC, "No space left on device")
    return TileResult(row={"index": inputs.tile.index})


def test_a_full_disk_ends_the_run_at_once_and_says_so(tmp_path, source):
    job = make_job(source, function=full_disk, outputs={}, parameters={"full": True})
    with pytest.raises(ClusterError, match=r"tile 5 .* No space left on device.*--resume"):
        run_job(job, run=Run.open(tmp_path), executor=Executor())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": 2.0}, r"parameters\.gain was 1\.0 and is 2\.0"),
        ({"version": 2}, "function version was 1 and is 2"),
        ({"plan": TilePlan(shape=SHAPE, core=(8, 8, 8), halo=(1, 0, 0))}, r"plan\.core was \[12"),
        ({"tiles": (1, 2)}, "tiles"),
    ],
)
def test_resuming_with_a_change_is_refused_and_names_it(tmp_path, source, changes, words):
    run = Run.open(tmp_path / "run")
    run_job(make_job(source), run=run, executor=Executor())
    run = Run.open(tmp_path / "run", resume=True)
    with pytest.raises(ResumeError, match=words):
        run_job(make_job(source, **changes), run=run, executor=Executor())


def test_another_input_on_resume_is_refused_and_named(tmp_path, source):
    run = Run.open(tmp_path / "run")
    run_job(make_job(source), run=run, executor=Executor())
    smaller = ZarrSource(store=source.store, path="other", shape=SHAPE)
    with pytest.raises(ResumeError, match=r"inputs\.map\.path was \"map\" and is \"other\""):
        run_job(make_job(smaller), run=run, executor=Executor())


def test_a_job_that_reads_an_output_is_bound_to_what_made_it(tmp_path, source):
    prints = set()
    for gain in (1.0, 2.0):
        run = Run.open(tmp_path / f"run-{gain}")
        run_job(make_job(source, gain=gain), run=run, executor=Executor())
        prints.add(str(output(run, "smooth").identity()["made_by"]))
    assert len(prints) == 2


def test_two_jobs_cannot_fill_one_output(tmp_path, source):
    run = Run.open(tmp_path / "run")
    run_job(make_job(source), run=run, executor=Executor())
    with pytest.raises(ResumeError, match="smooth exists"):
        run_job(make_job(source, name="second"), run=run, executor=Executor())


def test_only_the_asked_tiles_are_computed_and_the_rest_is_fill(tmp_path, source):
    run = Run.open(tmp_path / "run")
    table = run_job(make_job(source, tiles=(0, 7)), run=run, executor=Executor())
    assert list(table.tiles) == [0, 7]
    stored = zarr.open_array(run.store, path="smooth", mode="r")[...]
    plan = make_job(source).plan
    assert np.isfinite(stored).sum() == sum(np.prod(plan.tile(i).core_shape) for i in (0, 7))


def test_a_tile_that_the_plan_does_not_have_is_refused(tmp_path, source):
    with pytest.raises(UsageError, match="tile 9999"):
        run_job(make_job(source, tiles=(9999,)), run=Run.open(tmp_path), executor=Executor())


def test_a_job_without_rows_or_outputs_is_still_done_once(tmp_path, source):
    def count(inputs, parameters):
        calls.append(inputs.tile.index)
        return TileResult()

    calls.clear()
    run = Run.open(tmp_path / "run")
    job = make_job(source, function=count, outputs={})
    for _ in range(2):
        table = run_job(job, run=run, executor=Executor())
    assert len(calls) == len(job.plan)
    assert table.columns == {}


def test_a_pack_that_is_lost_is_tried_tile_by_tile(tmp_path, source, monkeypatch):
    packs = []

    class Losing(LocalPool):
        window = 4

        def wait(self, seconds):
            pack = self._packs[0]
            packs.append(pack)
            if len(pack) > 1:
                self._packs.popleft()
                return [Finished(pack=pack, lost=runner.Failure(cause="worker died"))]
            return super().wait(seconds)

    monkeypatch.setattr(Packer, "size", lambda self, left: 3)
    monkeypatch.setattr(runner, "make_pool", lambda task, *_: Losing(task))
    table = run_job(make_job(source), run=Run.open(tmp_path), executor=Executor())
    assert len(table.tiles) == len(make_job(source).plan)
    assert {len(pack) for pack in packs} == {1, 3}


def test_a_tile_that_kills_workers_does_not_take_its_neighbours_along(
    tmp_path, source, monkeypatch
):
    class Deadly(LocalPool):
        """Dask: a worker that dies brings all it held into disrepute."""

        window = 4

        def wait(self, seconds):
            if (3,) not in self._packs:
                return super().wait(seconds)
            held = list(self._packs)
            self._packs.clear()
            return [Finished(pack=pack, lost=runner.Failure(cause="worker died")) for pack in held]

    monkeypatch.setattr(runner, "make_pool", lambda task, *_: Deadly(task))
    job = make_job(source)
    with pytest.raises(TileError, match=r"tile 3 \(z [^)]*\) failed .*worker died") as caught:
        run_job(job, run=Run.open(tmp_path), executor=Executor())
    assert f"{len(job.plan) - 1} of {len(job.plan)} tiles are done" in str(caught.value)
