"""Phantoms land on disk as the volumes and the truth that their commands promise."""

import json

import mrcfile
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from distres.cli.phantom import register
from distres.errors import InputError, OutputExistsError, UsageError
from distres.io.grid import Grid
from distres.io.halves import find_partner
from distres.kernels.phantom import blob_halves
from distres.methods.phantom import BlobParameters, write_blob
from distres.methods.phantom_files import row_blocks, write_volumes


@pytest.fixture
def command():
    """Run a phantom command the way a shell does."""
    app = typer.Typer()
    register(app)

    def run(*words):
        return CliRunner().invoke(app, ["phantom", *map(str, words)])

    return run


def read(path):
    with mrcfile.open(path) as file:
        assert file.voxel_size.x > 0
        return np.asarray(file.data).copy()


def test_blob_files_hold_the_kernel_s_arrays(tmp_path):
    # Taller and wider than one block of rows, so that several are put together.
    shape = (72, 264, 40)
    files = write_blob(BlobParameters(shape=shape, seed=3), tmp_path)
    whole = blob_halves(shape, seed=3)
    assert len(list(row_blocks(shape))) == 4
    for role in ("half1", "half2", "mask", "labels"):
        np.testing.assert_array_equal(read(files.volumes[role]), getattr(whole, role))
    for threshold in (0.5, 0.143):
        truth = read(files.volumes[f"truth_{threshold}"])
        for q in (1, 2, 3, 4):
            expected = np.float32(whole.truth.resolution_angstrom(q, threshold))
            assert np.all(truth[whole.quadrants == q] == expected)
        assert np.all(truth[whole.quadrants == 0] == 0)


def test_blob_halves_are_found_as_a_pair(tmp_path):
    files = write_blob(BlobParameters(shape=(16, 16, 16)), tmp_path)
    partner = find_partner(str(files.volumes["half1"]))
    assert partner.path == str(files.volumes["half2"])


def test_blob_command_writes_everything_it_lists(command, tmp_path):
    result = command(
        "blob", "--shape", "40,32,24", "--voxel-size", 2, "--seed", 4, "--threshold", 0.3,
        "--noise-colour", 2, 300, "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["shape"] == [24, 32, 40]
    assert set(said["files"]) == {"half1", "half2", "mask", "labels", "truth_0.3"}
    with mrcfile.open(said["files"]["half1"]) as file:
        assert file.data.shape == (24, 32, 40)
        assert float(file.voxel_size.x) == pytest.approx(2)
    stored = json.loads((tmp_path / "out" / "blob_truth.json").read_text())
    assert stored["noise"]["excess"] == 2
    assert stored["quadrants"] == said["quadrants"]
    curve = stored["curves"]["fsc"]["4"]
    assert len(curve) == len(stored["curves"]["frequency_per_angstrom"])
    assert all(0 <= value <= 1 for value in curve)


def test_existing_files_are_replaced_only_when_asked(command, tmp_path):
    words = ("blob", "--shape", 16, "-o", tmp_path)
    assert command(*words).exit_code == 0
    before = (tmp_path / "blob_half1.mrc").read_bytes()
    again = command(*words, "--seed", 1)
    assert isinstance(again.exception, OutputExistsError)
    assert (tmp_path / "blob_half1.mrc").read_bytes() == before
    assert command(*words, "--seed", 1, "--overwrite").exit_code == 0
    assert (tmp_path / "blob_half1.mrc").read_bytes() != before


@pytest.mark.parametrize(
    "words",
    [
        ("--shape", "16,16"),
        ("--shape", "many"),
        ("--shape", "8"),
        ("--noise", "-1"),
        ("--threshold", "1.5"),
        ("--voxel-size", "0"),
        ("--noise-colour", "-1", "200"),
    ],
)
def test_impossible_blobs_are_refused_before_anything_is_written(command, tmp_path, words):
    result = command("blob", "-o", tmp_path / "out", *words)
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "out").exists()


def test_a_writer_that_fails_stops_the_others_and_leaves_no_files(tmp_path):
    grid = Grid(shape=(8, 8, 8), voxel_size_angstrom=(1.0, 1.0, 1.0))

    def parts():
        for z in range(8):
            good = np.zeros((1, 8, 8), np.float32)
            bad = good if z < 3 else np.full((1, 8, 8), np.nan, np.float32)
            yield (slice(z, z + 1), slice(0, 8), slice(0, 8)), {"one": good, "two": bad}

    paths = {name: tmp_path / f"{name}.mrc" for name in ("one", "two")}
    with pytest.raises(InputError):
        write_volumes(paths, grid, parts(), label="test")
    assert list(tmp_path.iterdir()) == []
