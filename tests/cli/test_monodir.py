"""`distres monodir` from the command line."""

import json
import sys

import mrcfile
import numpy as np
import pytest
from scipy import ndimage

from distres.cli.main import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Halves of blurred atoms in a ball and their mask, 40^3 voxels of 1.5 A."""
    place = tmp_path_factory.mktemp("monodir")
    rng = np.random.default_rng(0)
    axis = np.arange(40) - 20
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 12**2
    atoms = np.where(ball & (rng.random(ball.shape) < 0.08), rng.uniform(4, 12, ball.shape), 0)
    signal = ndimage.gaussian_filter(atoms, 0.8)
    volumes = {f"p_half{i}.mrc": signal + rng.standard_normal(ball.shape) for i in (1, 2)}
    for name, values in {**volumes, "mask.mrc": ball}.items():
        with mrcfile.new(place / name) as mrc:
            mrc.set_data(values.astype(np.float32))
            mrc.voxel_size = 1.5
    return place


@pytest.fixture
def distres(folder, monkeypatch, capfd):
    """Run a command in this process, as the entry point would; status, stdout, stderr."""

    def call(*words):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["distres", "monodir", *words, "--cluster", "none"])
        status = 0
        try:
            run()
        except SystemExit as stopped:
            status = stopped.code or 0
        caught = capfd.readouterr()
        return status, caught.out, caught.err

    return call


def test_a_unit_is_offered_but_not_directions_of_every_voxel(distres, folder):
    status, out, _ = distres("--help")
    assert status == 0
    assert "--symmetry" in out
    words = ("p_half1.mrc", "-m", "mask.mrc", "--symmetry", "D2", "--keep-directions")
    status, _, err = distres(*words, "-o", "kept")
    assert status == 2
    assert "--keep-directions works on whole volumes; leave out --symmetry" in err
    assert not (folder / "kept").exists()


def test_a_pair_gives_maps_tables_pictures_and_json(distres, folder):
    status, out, err = distres(
        *("p_half1.mrc", "-m", "mask.mrc", "--directions", "46", "--resolution-range", "9", "4"),
        *("--step", "1", "--json", "-o", "run", "--device", "cpu"),
    )
    assert status == 0, err
    summary = json.loads(out)
    names = {path.name for path in (folder / "run").iterdir()}
    for name in ("highest", "lowest", "adr", "anisotropy", "radial", "tangential", "zscore"):
        assert f"p_half1_monodir_{name}.mrc" in names
    for name in ("directions.csv", "profiles.csv", "slopes.csv", "directions.svg", "profiles.png"):
        assert f"p_half1_monodir_{name}" in names
    assert summary["method"] == "monodir"
    page = (folder / "run" / "p_half1_monodir_report.html").read_text()
    assert "Preferred directions" in page
    assert "Resolution against radius" in page
    assert "Nature Communications 11, 55" in page


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("p_half1.mrc", "--directions", "80"), 2, "46, 81 or 321"),
        (("p_half1.mrc", "--cone", "70"), 2, "5 to 45"),
        (("p_half1.mrc", "--resolution-range", "70", "90"), 2, "60"),
        (("p_half1.mrc", "--memory", "100MB"), 4, "--memory"),
        (("p_half1.mrc", "mask.mrc", "--single"), 3, "--single"),
        (("none_half1.mrc",), 3, "does not exist"),
    ],
)
def test_each_mistake_has_its_sentence_and_code(distres, folder, words, code, said):
    status, _, err = distres(*words, "-o", "wrong")
    assert status == code, err
    assert "Traceback" not in err
    assert said in err.strip().splitlines()[-1]
    assert not (folder / "wrong" / "run.json").exists()
