"""Runs whose input and arrays lie in an object store that fails now and then."""

import subprocess
import sys
from pathlib import Path

import boto3
import cloudpickle
import numpy as np
import pytest
import zarr

from distres.engine.cluster import open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tiles import TilePlan
from distres.errors import ClusterError
from distres.io import stores
from distres.io.stores import as_store

# Workers cannot import test modules: send their functions by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = (30, 28, 26)


def work(inputs, parameters):
    """Scale a core by the mean of its block."""
    block = inputs.block("map")
    core = inputs.core("map") * np.float32(block.mean())
    return TileResult(arrays={"out": core}, row={"sum": float(core.astype(np.float64).sum())})


def job_on(store):
    values = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    zarr.create_array(as_store(store), name="map", data=values, chunks=(16, 16, 16))
    return TileJob(
        name="scale",
        plan=TilePlan(shape=SHAPE, core=(12, 12, 12), halo=(2, 2, 2)),
        function=work,
        inputs={"map": ZarrSource.of(store, "map")},
        outputs={"out": OutputSpec()},
    )


def bits(run, table):
    out = zarr.open_array(run.store, path="out", mode="r")[...]
    return out.tobytes(), table.columns["sum"].tobytes()


@pytest.fixture
def expected(tmp_path):
    with Run.open(tmp_path / "expected") as run, open_executor() as executor:
        return bits(run, run_job(job_on(str(tmp_path / "in.zarr")), run=run, executor=executor))


@pytest.mark.cluster
@pytest.mark.slow
def test_workers_that_share_only_an_object_store_give_the_bits_of_a_disk(
    tmp_path, bucket, proxy, expected
):
    job = job_on(f"{bucket}/in.zarr")
    proxy.error_share = 0.1
    with (
        open_executor("local", workers=2, memory_bytes=10**9) as executor,
        Run.open(tmp_path / "run", store=bucket) as run,
    ):
        assert bits(run, run_job(job, run=run, executor=executor)) == expected
    assert proxy.failed > 10
    assert not (tmp_path / "run" / "run.zarr").exists()


def test_an_outage_that_lasts_ends_the_run_and_resuming_computes_the_rest(
    tmp_path, bucket, proxy, expected, monkeypatch
):
    monkeypatch.setattr(stores, "RETRIES", 1)
    stores._opened.cache_clear()
    job = job_on(f"{bucket}/in.zarr")

    def cut(progress):
        proxy.down = proxy.down or progress.done >= 8

    monkeypatch.setattr("distres.engine.progress.SHOW_SECONDS", 0.0)
    with (
        open_executor(watcher=cut) as executor,
        Run.open(tmp_path / "run", store=bucket) as run,
        pytest.raises(ClusterError, match=r"does not answer.*--resume"),
    ):
        run_job(job, run=run, executor=executor)
    with pytest.raises(ClusterError, match="does not answer"):
        Run.open(tmp_path / "run", resume=True)
    proxy.down = False
    with open_executor() as executor, Run.open(tmp_path / "run", resume=True) as run:
        table = run_job(job, run=run, executor=executor)
        assert bits(run, table) == expected
    assert table.stats.resumed >= 8


def distres(folder, *words):
    program = Path(sys.executable).parent / "distres"
    command = [program, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_the_command_reads_and_writes_an_object_store(tmp_path, bucket, server):
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server}")
    halves = []
    distres(tmp_path, "phantom", "blob", "--shape", "32", "--seed", "3", "-o", "in")
    for half in (1, 2):
        name = f"blob_half{half}.zarr"
        distres(tmp_path, "convert", f"in/blob_half{half}.mrc", name)
        for file in filter(Path.is_file, (tmp_path / name).rglob("*")):
            key = f"{bucket.removeprefix('s3://bucket/')}/{file.relative_to(tmp_path)}"
            client.upload_file(str(file), "bucket", key)
        halves.append(f"{bucket}/{name}")
    # Half 2 is found by its name, as on a disk.
    stored = distres(tmp_path, "mask", halves[0], "--store", f"{bucket}/run", "-o", "run")
    assert stored.returncode == 0, stored.stderr
    plain = distres(tmp_path, "mask", "blob_half1.zarr", "blob_half2.zarr", "-o", "plain")
    assert plain.returncode == 0, plain.stderr
    maps = sorted(file.name for file in (tmp_path / "plain").glob("*.mrc"))
    assert maps
    for name in maps:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert not (tmp_path / "run" / "run.zarr").exists()
    told = distres(tmp_path, "info", "run")
    assert "mask" in told.stdout, told.stderr
    words = ["-o", "run", "--store", f"{bucket}/else", "--resume"]
    again = distres(tmp_path, "mask", halves[0], *words)
    assert again.returncode == 3
    assert "lie in" in again.stderr
