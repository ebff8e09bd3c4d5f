"""`distres mask` from files to a file: what is read, written and refused."""

import json

import numpy as np
import pytest

from distres.errors import InputError, OutputExistsError
from distres.io.grid import Grid
from distres.io.mrc import MrcHeader
from distres.io.mrc_write import write_mrc
from distres.io.volume import open_volume
from distres.methods.mask_plan import MaskParameters
from distres.methods.mask_run import make_mask
from distres.methods.options import RunOptions

SHAPE, VOXEL = (48, 56, 64), 1.25
GRID = Grid(shape=SHAPE, voxel_size_angstrom=(VOXEL,) * 3, origin_angstrom=(5.0, 10.0, 15.0))


@pytest.fixture
def halves(tmp_path):
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ball = ((z - 24) ** 2 + (y - 28) ** 2 + (x - 32) ** 2 <= 12**2).astype(np.float32)
    rng = np.random.default_rng(0)
    paths = []
    for half in "12":
        path = tmp_path / f"run_half{half}_unfil.mrc"
        noisy = ball + rng.standard_normal(SHAPE).astype(np.float32)
        write_mrc(path, GRID, None, [(tuple(slice(n) for n in SHAPE), noisy)])
        paths.append(path)
    return paths


def whole(path):
    volume = open_volume(path)
    return volume, volume.read(tuple(slice(n) for n in volume.shape))


def test_a_run_directory_holds_mask_and_record(halves, tmp_path):
    done = make_mask(halves[0], options=RunOptions(output=tmp_path / "out", tile_vox=32))
    assert done.path == tmp_path / "out" / "run_half1_unfil_mask.mrc"
    volume, mask = whole(done.path)
    assert volume.grid == GRID
    assert 0 <= mask.min() < mask.max() <= 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert set(record["inputs"]) == {"half1", "half2"}
    assert record["outputs"] == {"mask": "run_half1_unfil_mask.mrc"}
    assert record["statistics"]["inside_vox"] == (mask > 0.5).sum()
    assert record["parameters"]["dilation_angstrom"] == 2.0
    assert record["parameters"]["edge_angstrom"] == 5 * VOXEL


def test_a_file_name_gives_the_same_mask_and_nothing_else(halves, tmp_path):
    place = tmp_path / "only"
    one = make_mask(halves[0], options=RunOptions(output=place / "mask.mrc"))
    other = make_mask(halves[0], options=RunOptions(output=tmp_path / "out", tile_vox=32))
    assert one.directory is None
    assert [path.name for path in place.iterdir()] == ["mask.mrc"]
    np.testing.assert_array_equal(whole(one.path)[1], whole(other.path)[1])


def test_a_single_map_is_taken_when_asked_or_when_alone(halves, tmp_path):
    asked = make_mask(halves[0], options=RunOptions(output=tmp_path / "a.mrc"), single=True)
    halves[1].unlink()
    alone = make_mask(halves[0], options=RunOptions(output=tmp_path / "b.mrc"))
    for done in (asked, alone):
        assert set(done.record["inputs"]) == {"map"}
        assert done.record["statistics"]["half_difference_sigma"] is None


def test_results_are_never_overwritten_unless_asked(halves, tmp_path):
    options = RunOptions(output=tmp_path / "mask.mrc")
    (tmp_path / "mask.mrc").write_text("precious")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        make_mask(halves[0], options=options)
    assert (tmp_path / "mask.mrc").read_text() == "precious"
    make_mask(halves[0], options=RunOptions(output=tmp_path / "mask.mrc", overwrite=True))
    assert whole(tmp_path / "mask.mrc")[0].shape == SHAPE


def test_a_resumed_mask_is_the_same(halves, tmp_path):
    first = make_mask(halves[0], options=RunOptions(output=tmp_path / "out", tile_vox=32))
    before = first.path.read_bytes()[1024:]
    again = make_mask(
        halves[0], options=RunOptions(output=tmp_path / "out", tile_vox=32, resume=True)
    )
    assert again.path.read_bytes()[1024:] == before


def test_the_header_of_half_1_goes_into_the_mask(halves, tmp_path):
    header = MrcHeader(
        nstart=(-24, 3, 7),
        cell_angstrom=tuple(n * VOXEL for n in reversed(SHAPE)),
        sampling=tuple(reversed(SHAPE)),
    )
    path = tmp_path / "started.mrc"
    write_mrc(
        path,
        Grid(shape=SHAPE, voxel_size_angstrom=(VOXEL,) * 3),
        header,
        [(tuple(slice(n) for n in SHAPE), whole(halves[0])[1])],
    )
    done = make_mask(path, options=RunOptions(output=tmp_path / "mask.mrc"))
    assert open_volume(done.path).header.nstart == (-24, 3, 7)


def test_given_halves_must_match(halves, tmp_path):
    path = tmp_path / "small.mrc"
    grid = Grid(shape=(8, 8, 8), voxel_size_angstrom=(VOXEL,) * 3)
    write_mrc(path, grid, None, [(tuple(slice(8) for _ in "zyx"), np.ones((8, 8, 8), "f4"))])
    with pytest.raises(InputError, match=r"8, 8, 8.*64, 56, 48|64, 56, 48.*8, 8, 8"):
        make_mask(halves[0], path, options=RunOptions(output=tmp_path / "mask.mrc"))


def test_parameters_reach_the_mask(halves, tmp_path):
    small, large = (
        make_mask(
            halves[0],
            options=RunOptions(output=tmp_path / f"{d}.mrc"),
            parameters=MaskParameters(dilation_angstrom=d, edge_angstrom=0.0),
        ).record["statistics"]
        for d in (0.0, 6.0)
    )
    assert small["binary"]
    assert large["inside_vox"] > 1.5 * small["inside_vox"]
