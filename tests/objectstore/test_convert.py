"""Images that are converted straight into an object store are those of a disk."""

import mrcfile
import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.errors import ClusterError, InputError, OutputExistsError, ResumeError
from distres.io import stores
from distres.io.volume import open_volume
from distres.methods import convert as module
from distres.methods.convert import convert

ALL = (slice(None),) * 3
HERE = Executor(memory_bytes=4 << 30)


@pytest.fixture
def volume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(6).normal(size=(70, 150, 140)).astype(np.float32)
    with mrcfile.new(tmp_path / "map.mrc", values) as file:
        file.voxel_size = 1.25
    return open_volume(tmp_path / "map.mrc")


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_an_image_in_an_object_store_is_that_of_a_disk(bucket, proxy, volume, tmp_path, ngff):
    proxy.error_share = 0.2
    convert(volume, f"{bucket}/a.zarr", HERE, ngff=ngff, levels=2)
    convert(volume, tmp_path / "a.zarr", HERE, ngff=ngff, levels=2)
    far, near = open_volume(f"{bucket}/a.zarr"), open_volume(tmp_path / "a.zarr")
    assert far.grid == near.grid
    assert far.statistics == near.statistics
    for level in range(2):
        np.testing.assert_array_equal(far.at_level(level).read(ALL), near.at_level(level).read(ALL))
    # Nothing of the conversion itself is left, there or here.
    assert stores.is_vacant(f"{bucket}/a.zarr/.distres")
    assert not (tmp_path / "a.zarr.distres").exists()


def test_a_conversion_that_was_cut_short_goes_on(bucket, volume, tmp_path, monkeypatch):
    target, real = f"{bucket}/a.zarr", module.run_job

    def break_off(job, **more):
        if job.name == "halve level 1":
            raise ClusterError("the network is gone")
        return real(job, **more)

    monkeypatch.setattr(module, "run_job", break_off)
    with pytest.raises(ClusterError, match="gone"):
        convert(volume, target, HERE, levels=2)
    monkeypatch.setattr(module, "run_job", real)
    with pytest.raises(OutputExistsError, match="--resume"):
        convert(volume, target, HERE, levels=2)
    convert(volume, target, HERE, levels=2, resume=True)
    np.testing.assert_array_equal(open_volume(target).read(ALL), volume.read(ALL))
    with pytest.raises(ResumeError, match="finished"):
        convert(volume, target, HERE, levels=2, resume=True)
    convert(volume, target, HERE, levels=1, overwrite=True)
    assert len(open_volume(target).levels) == 1


def test_what_is_no_image_is_left_alone(bucket, volume):
    stores.claim(f"{bucket}/things", "somebody's")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="no Zarr image"):
            convert(volume, f"{bucket}/things", HERE, overwrite=overwrite)
    assert stores.claim(f"{bucket}/things", "mine") == "somebody's"


def test_an_mrc_file_at_an_address_is_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"distres convert FILE s3://bucket/place\.zarr"):
        open_volume("s3://bucket/half1.mrc")
