import json

import mrcfile
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from distres.cli.fsc import register
from distres.errors import UsageError


@pytest.fixture
def halves(tmp_path):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(32, 32, 32))
    for number in "12":
        with mrcfile.new(tmp_path / f"job_half{number}.mrc") as file:
            file.set_data((signal + rng.normal(size=signal.shape)).astype(np.float32))
            file.voxel_size = 2.0
    return tmp_path


def invoke(folder, *arguments):
    app = typer.Typer()
    app.command("other")(lambda: None)
    register(app)
    every = ["fsc", str(folder / "job_half1.mrc"), "--directional", "-o", str(folder / "out")]
    return CliRunner().invoke(app, [*every, *arguments], catch_exceptions=False)


def test_directions_are_told_in_words_and_as_json(halves):
    done = invoke(halves)
    assert done.exit_code == 0
    assert "coarsest direction" in done.stdout
    summary = json.loads(invoke(halves, "--overwrite", "--json").stdout)
    assert summary["statistics"]["sphericity"] > 0.9


def test_two_thresholds_are_refused(halves):
    with pytest.raises(UsageError):
        invoke(halves, "--threshold", "0.5", "--threshold", "0.143")
