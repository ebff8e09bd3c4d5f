"""`distres deblur` refuses what makes no sense in one sentence, and writes what it says."""

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

from distres.cli.main import app
from distres.errors import DistresError


def distres(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    values = {"map": rng.standard_normal((32,) * 3), "locres": np.full((32,) * 3, 6.0)}
    values["locres"][:4] = 0
    for name, array in values.items():
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(array.astype(np.float32))
            file.voxel_size = 1.5
    atom = "ATOM  {0:5d}  C   ALA A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00 30.00           C"
    places = rng.uniform(0, 20, (300, 3))
    lines = [atom.format(i + 1, *place) for i, place in enumerate(places)]
    (folder / "model.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    return folder


def test_a_run_writes_what_it_lists(files):
    out = files / "run"
    done = distres(
        "deblur", files / "map.mrc", "--locres", files / "locres.mrc", "--cluster", "none",
        "--iterations", 2, "-o", out, "--json", "--structure", files / "model.pdb",
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    summary = json.loads(done.stdout)
    listed = [*summary["outputs"].values(), *summary["pictures"], summary["record"]]
    assert {path.rsplit(".", 1)[1] for path in listed} == {
        "mrc", "csv", "svg", "png", "cxc", "json",
    }  # fmt: skip
    for path in listed:
        assert Path(path).stat().st_size > 0
    with (out / "map_deblur_guinier.csv").open() as table:
        assert "amplitude_model" in table.readline()
    assert 'open "./map_deblur.mrc"' in (out / "map_deblur.cxc").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--locres"),
        (["--locres", "{locres}", "--method", "localfsc"], "exactly one"),
        (["{map}", "--method", "localfsc", "--dry-run"], "needs a resolution map"),
        (["{map}", "--locres", "{locres}"], "two were given"),
        (["--locres", "{locres}", "--compat", "relion"], "xmipp"),
        (["--locres", "{locres}", "--model", "best"], "paper or blur"),
        (["--locres", "{locres}", "-K", "-1"], "K must lie"),
        (["--locres", "{locres}", "--iterations", "0"], "use 1 or more"),
        (["--locres", "missing.mrc"], "missing.mrc"),
        (["{map}", "--method", "resmap"], "localfsc"),
        (["--locres", "{locres}", "--structure", "missing.pdb"], "missing.pdb"),
        (["--locres", "{locres}", "--structure", "{map}"], "map.mrc"),
    ],
)
def test_senseless_commands_end_in_one_sentence(files, words, said):
    places = {"map": files / "map.mrc", "locres": files / "locres.mrc"}
    given = [word.format(**places) for word in words]
    done = distres("deblur", files / "map.mrc", *given, "-o", files / "never", "--cluster", "none")
    error = done.exception
    assert isinstance(error, DistresError)
    assert error.exit_code in (2, 3)
    assert said in str(error)
    assert "\n" not in str(error)
    assert not (files / "never").exists()
