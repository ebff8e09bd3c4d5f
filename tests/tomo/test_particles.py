"""The resolution at particles: the nearest voxel's, in a column of its own."""

import json

import numpy as np
import pytest
import zarr

from distres.errors import InputError, OutputExistsError
from tomo.particles import resolution_at_particles


@pytest.fixture
def run(tmp_path):
    values = np.full((1, 10, 20, 30), np.nan, np.float32)
    values[0, 3, 4, 5] = 12.5
    values[0, 5, 10, 15] = 8.25
    folder = tmp_path / "run"
    folder.mkdir()
    zarr.create_array(str(folder / "run.zarr"), name="locres", data=values)
    grid = {"shape": [10, 20, 30], "voxel_size_angstrom": [10.0] * 3, "origin_angstrom": [0.0] * 3}
    record = {"method": "monotomo", "arrays": {"locres": "locres"}, "grid": grid}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def column(path):
    from gemmi import cif

    return [float(v) for v in cif.read(str(path))[0].find_values("_distresLocalResolution")]


def test_voxel_coordinates_are_read_at_the_nearest_voxel(run, tmp_path):
    star, out = tmp_path / "p.star", tmp_path / "out.star"
    star.write_text(
        "data_particles\n\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
        "A 5.2 3.9 3.0\nA 0 0 0\nB 5 4 3\nA 500 4 3\n"
    )
    found = resolution_at_particles(run, star, out)
    assert column(out) == [12.5, 0, 12.5, 0]
    assert found.summary()["with_resolution"] == 2
    resolution_at_particles(run, star, out, tomogram="A", overwrite=True)
    assert column(out) == [12.5, 0, 0, 0]


def test_centred_coordinates_of_relion_5_are_counted_from_the_middle(run, tmp_path):
    star, out = tmp_path / "p.star", tmp_path / "out.star"
    star.write_text(
        "data_particles\n\nloop_\n_rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"
        "_rlnCenteredCoordinateZAngst\n0 0 0\n-100 -60 -20\n"
    )
    resolution_at_particles(run, star, out)
    assert column(out) == [8.25, 12.5]


def test_tables_without_coordinates_and_unfinished_runs_are_refused(run, tmp_path):
    star = tmp_path / "p.star"
    star.write_text("data_\nloop_\n_rlnTomoName\nA\n")
    with pytest.raises(InputError, match="no table with rlnCoordinateX"):
        resolution_at_particles(run, star, tmp_path / "out.star")
    with pytest.raises(InputError, match="no finished run"):
        resolution_at_particles(tmp_path, star, tmp_path / "out.star")


def test_a_table_is_replaced_only_when_asked_and_gets_its_column_once(run, tmp_path):
    star, labels = tmp_path / "p.star", " ".join(f"_rlnCoordinate{axis}" for axis in "XYZ")
    star.write_text(f"data_particles\n\nloop_\n{labels}\n5 4 3\n")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        resolution_at_particles(run, star, star)
    for _ in range(2):
        resolution_at_particles(run, star, star, overwrite=True)
        assert column(star) == [12.5]


@pytest.mark.parametrize(
    ("table", "tomogram", "message"),
    [
        ("{labels} 5 4", None, "as a STAR file"),
        ("", None, "no table"),
        ("{labels} 5 4 up", None, "no number"),
        ("{labels} 5 4 3", "A", "no rlnTomoName"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(run, tmp_path, table, tomogram, message):
    labels = "data_ loop_ " + " ".join(f"_rlnCoordinate{axis}" for axis in "XYZ")
    star = tmp_path / "p.star"
    star.write_text(table.format(labels=labels) + "\n")
    with pytest.raises(InputError, match=message):
        resolution_at_particles(run, star, tmp_path / "out.star", tomogram=tomogram)
