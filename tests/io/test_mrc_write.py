import mrcfile
import numpy as np
import pytest

from distres import __version__
from distres.errors import InputError, OutputExistsError, UsageError
from distres.io.grid import Grid
from distres.io.mrc import MrcHeader
from distres.io.mrc_volume import MrcVolume
from distres.io.mrc_write import write_mrc

ALL = (slice(None),) * 3
GRID = Grid(shape=(5, 6, 7), voxel_size_angstrom=(1.5, 1.5, 1.5), origin_angstrom=(3.0, 6.0, 9.0))


def whole(values):
    return [(tuple(slice(0, n) for n in values.shape), values)]


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(3, 2, size=GRID.shape).astype(np.float32)


def test_blocks_in_any_order_make_the_same_file_up_to_rounding_of_the_mean(tmp_path, values):
    pieces = [
        ((slice(z, z + 1), slice(y, y + 3), slice(x, min(x + 4, 7))), None)
        for z in range(5)
        for y in (0, 3)
        for x in (0, 4)
    ]
    blocks = [(region, values[region]) for region, _ in reversed(pieces)]
    write_mrc(tmp_path / "pieces.mrc", GRID, None, blocks)
    statistics = write_mrc(tmp_path / "whole.mrc", GRID, None, whole(values))
    for name in ("pieces.mrc", "whole.mrc"):
        np.testing.assert_array_equal(MrcVolume.open(tmp_path / name).read(ALL), values)
    wide = values.astype(np.float64)
    assert statistics.minimum == values.min()
    assert statistics.maximum == values.max()
    # float64 moments of 210 numbers near 3: rounding is far below 1e-12.
    assert statistics.mean == pytest.approx(wide.mean(), abs=1e-12)
    assert statistics.rms == pytest.approx(wide.std(), abs=1e-12)


def test_what_we_write_is_valid_mrc2014(tmp_path, values):
    path = tmp_path / "map.mrc"
    write_mrc(path, GRID, None, whole(values), label="localfsc t=0.5")
    assert mrcfile.validate(path)
    with mrcfile.open(path) as other:
        header = other.header
        assert other.is_volume()
        assert (int(header.ispg), int(header.mz), int(header.nversion)) == (1, 5, 20141)
        assert header.dmin == values.min()
        assert header.rms == pytest.approx(values.std(), rel=1e-6)
        assert bytes(header.label[0]).decode().startswith(f"distres {__version__} localfsc t=0.5 ")


def test_the_place_of_the_source_is_copied_verbatim(tmp_path, make_mrc, values):
    source = make_mrc(
        values,
        axes=(2, 3, 1),
        nstart=(-4, 5, -6),
        sampling=(100, 100, 100),
        cell=(150.0, 150.0, 150.0),
        origin=(10.25, -20.5, 30.75),
        labels=("first line", "second line"),
    )
    volume = MrcVolume.open(source)
    write_mrc(tmp_path / "out.mrc", volume.grid, volume.header, whole(volume.read(ALL)))
    copy = MrcVolume.open(tmp_path / "out.mrc")
    assert copy.header.nstart == (-4, 5, -6)
    assert copy.header.origin == (10.25, -20.5, 30.75)
    assert copy.header.sampling == (100, 100, 100)
    assert copy.header.cell_angstrom == (150.0, 150.0, 150.0)
    assert copy.header.labels[1:] == ("first line", "second line")
    assert copy.grid == volume.grid
    np.testing.assert_array_equal(copy.read(ALL), values)


def test_a_stack_header_becomes_a_volume_header(tmp_path, make_mrc, values):
    source = MrcVolume.open(make_mrc(values, ispg=0, sampling=(7, 6, 1), cell=(10.5, 9, 1.5)))
    write_mrc(tmp_path / "out.mrc", source.grid, source.header, whole(values))
    copy = MrcVolume.open(tmp_path / "out.mrc")
    assert copy.header.space_group == 1
    assert copy.header.sampling == (7, 6, 5)
    assert copy.grid == source.grid


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (1.5, 0.0, -3.0)])
def test_a_coarser_grid_stays_in_place(tmp_path, values, origin):
    header = MrcHeader(
        nstart=(4, 5, 6),
        origin=origin,
        cell_angstrom=(10.5, 9.0, 7.5),
        sampling=(7, 6, 5),
        extents=(7, 6, 5),
    )
    coarse = header.grid().coarser(2)
    write_mrc(tmp_path / "out.mrc", coarse, header, whole(values[::2, ::2, ::2]))
    copy = MrcVolume.open(tmp_path / "out.mrc")
    assert copy.grid.voxel_size_angstrom == (3.0, 3.0, 3.0)
    assert copy.grid.origin_angstrom == header.grid().origin_angstrom


def test_float16_is_mode_12_and_says_when_values_do_not_fit(tmp_path, values):
    path = tmp_path / "map.mrc"
    statistics = write_mrc(path, GRID, None, whole(values), dtype="float16")
    copy = MrcVolume.open(path)
    assert copy.header.mode == 12
    np.testing.assert_array_equal(copy.read(ALL), values.astype(np.float16))
    assert statistics.maximum == values.astype(np.float16).max()
    with pytest.raises(InputError, match="do not fit float16"):
        write_mrc(tmp_path / "big.mrc", GRID, None, whole(values * 1e6), dtype="float16")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_never_reaches_a_file_and_no_trace_is_left(tmp_path, values, bad):
    values[2, 3, 4] = bad
    with pytest.raises(InputError, match="NaN or infinite"):
        write_mrc(tmp_path / "map.mrc", GRID, None, whole(values))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_when_asked_and_never_by_half_a_file(tmp_path, values):
    path = tmp_path / "map.mrc"
    write_mrc(path, GRID, None, whole(values))
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_mrc(path, GRID, None, whole(values))
    with pytest.raises(InputError, match="of 210 voxels were given"):
        write_mrc(path, GRID, None, whole(values)[:0], overwrite=True)
    assert path.read_bytes() == before
    write_mrc(path, GRID, None, whole(values + 1), overwrite=True)
    assert path.read_bytes() != before


def test_names_and_types_that_cannot_be_written_are_refused(tmp_path, values):
    with pytest.raises(UsageError, match="compress it after"):
        write_mrc(tmp_path / "map.mrc.gz", GRID, None, whole(values))
    with pytest.raises(UsageError, match="float64"):
        write_mrc(tmp_path / "map.mrc", GRID, None, whole(values), dtype="float64")
    with pytest.raises(InputError, match="folder does not exist"):
        write_mrc(tmp_path / "absent" / "map.mrc", GRID, None, whole(values))
