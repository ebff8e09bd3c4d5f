"""Inputs that no method can use: refused or flagged in one sentence, never a crash or a hang."""

import gzip
import json
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from distres.cli.main import app
from distres.errors import DistresError
from distres.io.volume import open_volume

WHOLE = (slice(None),) * 3
UNUSABLE = {"nan", "infinity", "all nan", "one section", "two columns"}


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write(path, values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of statistics of NaN
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data(values)
            file.set_volume()
            file.voxel_size = 1.5
    return path


@pytest.mark.parametrize("ending", ["mrc", "mrc.gz"])
def test_a_file_cut_anywhere_is_refused_in_one_sentence(tmp_path, ending):
    whole = write(tmp_path / "whole.mrc", noise((12, 11, 10))).read_bytes()
    if ending == "mrc.gz":
        whole = gzip.compress(whole)
    for percent in range(100):
        path = tmp_path / f"cut{percent}.{ending}"
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(DistresError) as caught:
            open_volume(path).read(WHOLE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [40, 20, 20]},
        {"shape": [20, 20, 200]},
        {"data_type": "float64"},
        {"data_type": "int16"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [20, 20, 20]}}},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]},
        {"codecs": []},
        {"shape": [-1, 20, 20]},
        {"zarr_format": 9},
    ],
    ids=str,
)
def test_an_array_that_is_not_what_its_metadata_say_is_refused_or_read(tmp_path, change):
    store = tmp_path / "in.zarr"
    zarr.create_array(str(store), name="map", data=noise((20, 20, 20)), chunks=(10, 10, 10))
    file = store / "map/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    try:
        volume = open_volume(str(store / "map"), 1.5)
        assert volume.read(WHOLE).shape == volume.shape
    except DistresError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        # Chunks that the metadata promise beyond those stored are fill value, as Zarr defines.
        assert "shape" in change


def spoiled(kind):
    values = noise((24, 24, 24), seed=1)
    if kind == "nan":
        values[3, 4, 5] = np.nan
    if kind == "infinity":
        values[3, 4, 5] = np.inf
    if kind == "all nan":
        values[...] = np.nan
    if kind == "constant":
        values[...] = 2.0
    if kind == "huge":
        values *= np.float32(5e37)
    if kind == "one section":
        values = values[:1]
    if kind == "two columns":
        values = np.ascontiguousarray(values[:, :, :2])
    return values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, "localfsc") for kind in sorted(UNUSABLE | {"constant", "huge"})),
        ("nan", "monores"),
        ("one section", "monores"),
    ],
)
def test_spoiled_voxels_end_in_a_sentence_or_in_finite_maps(tmp_path, kind, method):
    values = spoiled(kind)
    write(tmp_path / "a_half1.mrc", values)
    # The other half is sound: identical halves are refused for another reason.
    write(tmp_path / "a_half2.mrc", noise(values.shape, seed=2))
    write(tmp_path / "m.mrc", np.ones(values.shape, np.float32))
    words = [method, tmp_path / "a_half1.mrc", "-m", tmp_path / "m.mrc", "-o", tmp_path / "run"]
    error = CliRunner().invoke(app, [str(word) for word in words]).exception
    if error is not None:
        assert isinstance(error, DistresError), repr(error)
        assert "\n" not in str(error)
        return
    assert kind not in UNUSABLE
    for file in Path(tmp_path / "run").glob("*.mrc"):
        with mrcfile.open(file) as opened:
            assert np.isfinite(opened.data).all()
