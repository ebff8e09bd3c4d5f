import json
import re
import warnings

import mrcfile
import numpy as np
import pytest
import zarr

from distres.engine.cluster import Executor, open_executor
from distres.errors import ClusterError, InputError, OutputExistsError, ResumeError, UsageError
from distres.io.volume import open_volume
from distres.kernels.resample import HALVING_NAME, halve_volume
from distres.methods import convert as module
from distres.methods.convert import convert

ALL = (slice(None),) * 3
HERE = Executor(memory_bytes=4 << 30)


@pytest.fixture
def noise():
    return np.random.default_rng(6).normal(-1, 2, size=(70, 300, 140)).astype(np.float32)


@pytest.fixture
def tall_map(tmp_path, noise):
    path = tmp_path / "map.mrc"
    with mrcfile.new(path, noise) as file:
        file.voxel_size = 1.25
        file.header.origin = (10.0, -20.0, 30.0)
        file.nstart = (4, 5, 6)
    return path


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_an_image_holds_every_voxel_and_the_levels_of_the_whole_volume(
    tmp_path, tall_map, noise, ngff
):
    volume = open_volume(tall_map)
    statistics = convert(volume, tmp_path / "a.zarr", HERE, ngff=ngff, levels=3)
    image = open_volume(tmp_path / "a.zarr")
    assert image.grid == volume.grid
    assert image.header == volume.header
    assert image.halving == HALVING_NAME
    expected = noise
    for level in range(3):
        np.testing.assert_array_equal(image.at_level(level).read(ALL), expected)
        expected = halve_volume(expected)
    wide = noise.astype(np.float64)
    assert statistics.minimum == noise.min()
    # Sums of 3e6 float64 squares near 5: relative rounding of 1e-16 times their square root.
    assert statistics.mean == pytest.approx(wide.mean(), rel=1e-10)
    assert statistics.rms == pytest.approx(wide.std(), rel=1e-10)
    assert not (tmp_path / "a.zarr" / ".distres").exists()


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_metadata_validate_against_the_published_models(tmp_path, tall_map, ngff):
    from ome_zarr_models.v04.image import Image as Image04
    from ome_zarr_models.v05.image import Image as Image05

    convert(open_volume(tall_map), tmp_path / "a.zarr", HERE, ngff=ngff)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    image = (Image04 if ngff == "0.4" else Image05).from_zarr(group)
    attributes = image.attributes if ngff == "0.4" else image.attributes.ome
    multiscale = attributes.multiscales[0]
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("z", "space", "angstrom"),
        ("y", "space", "angstrom"),
        ("x", "space", "angstrom"),
    ]
    assert [dataset.path for dataset in multiscale.datasets] == ["0", "1", "2"]
    scale, shift = multiscale.datasets[1].coordinateTransformations
    assert list(scale.scale) == [2.5, 2.5, 2.5]
    assert list(shift.translation) == [30.0, -20.0, 10.0]  # no half voxel: levels share voxel 0


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_ome_zarr_py_opens_the_image(tmp_path, tall_map, noise, ngff):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    convert(open_volume(tall_map), tmp_path / "a.zarr", HERE, ngff=ngff)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = list(Reader(parse_url(str(tmp_path / "a.zarr")))())
    assert [level.shape for level in nodes[0].data] == [(70, 300, 140), (35, 150, 70), (18, 75, 35)]
    np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), noise)


def test_0_4_lies_in_zarr_2_chunks_with_slashes_and_0_5_in_shards(tmp_path, tall_map):
    convert(open_volume(tall_map), tmp_path / "old.zarr", HERE)
    meta = json.loads((tmp_path / "old.zarr" / "0" / ".zarray").read_text())
    assert (meta["zarr_format"], meta["dimension_separator"]) == (2, "/")
    assert meta["chunks"] == [70, 128, 128]
    assert (tmp_path / "old.zarr" / "0" / "0" / "2" / "1").is_file()
    convert(open_volume(tall_map), tmp_path / "new.zarr", HERE, ngff="0.5")
    array = zarr.open_array(str(tmp_path / "new.zarr"), path="0")
    assert array.shards == (70, 128, 128)
    assert array.chunks == (70, 64, 64)
    assert array.metadata.dimension_names == ("z", "y", "x")


def test_an_output_is_replaced_only_when_asked(tmp_path, tall_map):
    volume = open_volume(tall_map)
    target = tmp_path / "a.zarr"
    convert(volume, target, HERE, levels=1)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        convert(volume, target, HERE)
    with pytest.raises(ResumeError, match="finished"):
        convert(volume, target, HERE, resume=True)
    convert(volume, target, HERE, levels=2, overwrite=True)
    assert len(open_volume(target).levels) == 2
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious.txt").touch()
    with pytest.raises(OutputExistsError, match="no Zarr folder"):
        convert(volume, tmp_path / "folder", HERE, overwrite=True)
    assert (tmp_path / "folder" / "precious.txt").exists()
    with pytest.raises(UsageError, match=r"0\.3"):
        convert(volume, tmp_path / "b.zarr", HERE, ngff="0.3")


def test_a_conversion_that_was_cut_short_is_no_image_and_goes_on(
    tmp_path, tall_map, noise, monkeypatch
):
    volume = open_volume(tall_map)
    target = tmp_path / "a.zarr"
    real = module.run_job

    def stop_at_level_2(job, **settings):
        if job.name == "halve level 2":
            raise KeyboardInterrupt
        return real(job, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_job", stop_at_level_2)
        with pytest.raises(KeyboardInterrupt):
            convert(volume, target, HERE, levels=3)
    with pytest.raises(InputError, match="without an OME-Zarr image"):
        open_volume(target)
    with pytest.raises(ResumeError, match="another input"):
        convert(volume, target, HERE, levels=3, replace_nonfinite=0.0, resume=True)
    tables = []

    def noted(job, **settings):
        tables.append(real(job, **settings))
        return tables[-1]

    monkeypatch.setattr(module, "run_job", noted)
    convert(volume, target, HERE, levels=3, resume=True)
    assert [table.stats.computed > 0 for table in tables] == [False, False, True]
    expected = halve_volume(halve_volume(noise))
    np.testing.assert_array_equal(open_volume(target, level=2).read(ALL), expected)


def test_nan_is_refused_or_replaced(tmp_path, noise):
    noise[3, 2, 1] = np.nan
    volume = open_volume(noise, 1.5)
    with pytest.raises(InputError, match=r"1 NaN or infinite voxels, .* = 1, 2, 3 "):
        convert(volume, tmp_path / "a.zarr", HERE)
    assert not (tmp_path / "a.zarr").exists()
    statistics = convert(volume, tmp_path / "a.zarr", HERE, replace_nonfinite=0.0)
    assert statistics.nonfinite == 1
    assert open_volume(tmp_path / "a.zarr").read(ALL)[3, 2, 1] == 0.0


def test_too_little_memory_is_refused_with_what_is_enough(tmp_path, tall_map):
    volume = open_volume(tall_map)
    with pytest.raises(ClusterError, match=r"raise --memory to at least (\d+) MB") as caught:
        convert(volume, tmp_path / "a.zarr", Executor(memory_bytes=450_000_000))
    enough = int(re.search(r"least (\d+) MB", str(caught.value))[1]) + 1
    convert(volume, tmp_path / "a.zarr", Executor(memory_bytes=enough * 10**6))


@pytest.mark.cluster
def test_workers_write_the_same_bytes(tmp_path, tall_map):
    volume = open_volume(tall_map)
    convert(volume, tmp_path / "one.zarr", HERE)
    with open_executor("local", workers=2, memory_bytes=2 << 30) as executor:
        convert(volume, tmp_path / "two.zarr", executor)
    files = [p.relative_to(tmp_path / "one.zarr") for p in (tmp_path / "one.zarr").rglob("*")]
    chunks = [p for p in files if p.name.isdigit() and (tmp_path / "one.zarr" / p).is_file()]
    assert len(chunks) > 5
    for chunk in chunks:
        one, two = (tmp_path / name / chunk for name in ("one.zarr", "two.zarr"))
        assert one.read_bytes() == two.read_bytes()
