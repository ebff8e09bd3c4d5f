import numpy as np
import pytest
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import ZarrSource
from distres.engine.run import Run
from distres.errors import InputError, OutputExistsError
from distres.io.grid import Grid
from distres.io.mrc_volume import MrcVolume
from distres.io.volume import open_volume
from distres.kernels.extend import extend_nearest
from distres.methods import export as module
from distres.methods.convert import convert
from distres.methods.export import export_array
from distres.methods.pyramid import ingest
from distres.methods.results import find_result, split_run

ALL = (slice(None),) * 3
HERE = Executor(memory_bytes=4 << 30)
SHAPE = (80, 70, 90)
GRID = Grid(shape=SHAPE, voxel_size_angstrom=(2.0, 2.0, 2.0))


@pytest.fixture
def resolution():
    """Resolutions that grow outward inside a ball, NaN outside it, two thresholds."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(np.float32)
    radius = np.sqrt((z - 40) ** 2 + (y - 35) ** 2 + (x - 30) ** 2)
    first = np.where(radius < 20, 3 + radius / 10, np.nan)
    return np.stack([first, first + 1]).astype(np.float32)


@pytest.fixture
def stored(tmp_path, resolution):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("locres", data=resolution, chunks=(1, 32, 32, 32))
    return ZarrSource.of(str(tmp_path / "a.zarr"), "locres")


def test_undefined_voxels_become_the_background_and_no_nan_is_written(tmp_path, stored, resolution):
    statistics = export_array(stored, GRID, None, tmp_path / "a.mrc", lead=(1,))
    written = MrcVolume.open(tmp_path / "a.mrc").read(ALL)
    np.testing.assert_array_equal(written, np.nan_to_num(resolution[1], nan=0.0))
    assert statistics.minimum == 0
    assert statistics.maximum == np.nanmax(resolution[1])
    with pytest.raises(OutputExistsError):
        export_array(stored, GRID, None, tmp_path / "a.mrc")


def test_fill_extends_the_nearest_values_the_same_near_the_mask_in_blocks_or_whole(
    tmp_path, stored, resolution, monkeypatch
):
    export_array(stored, GRID, None, tmp_path / "whole.mrc", fill=True)
    whole = MrcVolume.open(tmp_path / "whole.mrc").read(ALL)
    np.testing.assert_array_equal(whole, extend_nearest(resolution[0]))
    monkeypatch.setattr(module, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(module, "FILL_BLOCK", (32, 24, 40))
    export_array(stored, GRID, None, tmp_path / "blocks.mrc", fill=True)
    blocks = MrcVolume.open(tmp_path / "blocks.mrc").read(ALL)
    near = ~np.isnan(extend_nearest(resolution[0], reach_vox=module.FILL_REACH_VOX))
    # Equally near voxels may be chosen differently: their resolutions differ by less than the
    # slope of 0.1 a voxel times the distance between them on a shell of one voxel.
    assert np.abs(blocks - whole)[near].max() < 0.2
    assert (blocks != whole)[near].mean() < 0.05
    # Far away a cell of 8 voxels stands for its nearest voxel: within its radius of 0.1 a voxel.
    assert np.abs(blocks - whole).max() < 0.1 * 8 * np.sqrt(3)
    assert blocks.min() >= 3  # never the background


def test_large_volumes_are_filled_by_cubes_of_two_in_blocks_or_whole(
    tmp_path, stored, resolution, monkeypatch
):
    monkeypatch.setattr(module, "FILL_EXACTLY", 0)
    export_array(stored, GRID, None, tmp_path / "whole.mrc", fill=True)
    whole = MrcVolume.open(tmp_path / "whole.mrc").read(ALL)
    np.testing.assert_array_equal(whole, extend_nearest(resolution[0], cell_vox=2))
    monkeypatch.setattr(module, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(module, "FILL_BLOCK", (32, 24, 40))
    export_array(stored, GRID, None, tmp_path / "blocks.mrc", fill=True)
    blocks = MrcVolume.open(tmp_path / "blocks.mrc").read(ALL)
    near = ~np.isnan(extend_nearest(resolution[0], reach_vox=module.FILL_REACH_VOX - 4, cell_vox=2))
    # As above, for cubes that are twice as large as a voxel.
    assert np.abs(blocks - whole)[near].max() < 0.4


def test_a_run_exports_with_the_header_of_half_1(tmp_path, make_mrc, ramp):
    source = make_mrc(
        ramp,
        name="map.mrc",
        axes=(2, 1, 3),
        nstart=(4, -5, 6),
        origin=(1.0, 2.0, 3.5),
        sampling=(100, 90, 80),
        labels=("the source",),
    )
    volume = open_volume(source)
    with Run.open(tmp_path / "run") as run:
        ingest(volume, run, "half1", HERE, 2)
        zarr.open_group(run.store, mode="r+").create_array(
            "localfsc/locres", data=np.stack([ramp, ramp + 1])
        )
        zarr.open_group(run.store, mode="r+").create_array("coarse", data=ramp[::2, ::2, ::2])
    found = find_result(str(tmp_path / "run" / "localfsc" / "locres"))
    assert found.source.shape == (2, 5, 6, 7)
    export_array(found.source, found.grid, found.header, tmp_path / "out.mrc", lead=(1,))
    copy = MrcVolume.open(tmp_path / "out.mrc")
    assert copy.grid == volume.grid
    for field in ("nstart", "origin", "cell_angstrom", "sampling"):
        assert getattr(copy.header, field) == getattr(volume.header, field)
    assert copy.header.labels[1:] == ("the source",)
    np.testing.assert_array_equal(copy.read(ALL), ramp + 1)
    coarse = find_result(str(tmp_path / "run" / "run.zarr" / "coarse"))
    assert coarse.grid == volume.grid.coarser(2)
    level = find_result(str(tmp_path / "run" / "inputs" / "half1" / "1"))
    assert level.grid == volume.grid.coarser(2)


def test_names_that_lead_nowhere_list_what_there_is(tmp_path, make_mrc, ramp):
    with Run.open(tmp_path / "run") as run:
        ingest(open_volume(make_mrc(ramp)), run, "half1", HERE, 1)
        zarr.open_group(run.store, mode="r+").create_array("odd", data=ramp[:3])
    with pytest.raises(InputError, match=r"this run holds inputs/half1/0, odd"):
        find_result(str(tmp_path / "run"))
    with pytest.raises(InputError, match="is no level of the run's grid"):
        find_result(str(tmp_path / "run" / "odd"))
    assert split_run(str(tmp_path)) == (None, str(tmp_path))


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1)])
def test_from_mrc_to_zarr_and_back_the_place_is_kept_verbatim(tmp_path, make_mrc, ramp, axes):
    path = make_mrc(ramp, axes=axes, nstart=(-7, 8, 9), origin=(0.25, 0.0, -1.5), mode=1)
    volume = open_volume(path)
    convert(volume, tmp_path / "a.zarr", HERE)
    found = find_result(str(tmp_path / "a.zarr"))
    export_array(found.source, found.grid, found.header, tmp_path / "back.mrc")
    back = MrcVolume.open(tmp_path / "back.mrc")
    assert back.grid == volume.grid
    assert (back.header.nstart, back.header.origin) == ((-7, 8, 9), (0.25, 0.0, -1.5))
    assert (back.header.cell_angstrom, back.header.sampling) == (
        volume.header.cell_angstrom,
        volume.header.sampling,
    )
    np.testing.assert_array_equal(back.read(ALL), ramp)
