import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from distres.cli.fsc import register
from distres.errors import OutputExistsError, UsageError

SHAPE = (24, 26, 28)


@pytest.fixture
def app():
    app = typer.Typer()
    # A second command keeps Typer from folding the only one into the program itself.
    app.command("other")(lambda: None)
    register(app)
    return app


@pytest.fixture
def halves(tmp_path):
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfftn(rng.normal(size=SHAPE))
    axes = (np.fft.fftfreq(SHAPE[0]), np.fft.fftfreq(SHAPE[1]), np.fft.rfftfreq(SHAPE[2]))
    square = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
    signal = np.fft.irfftn(spectrum * 10 * np.exp(-square * 80), s=SHAPE, axes=(0, 1, 2))
    for number in "12":
        with mrcfile.new(tmp_path / f"job_half{number}.mrc") as file:
            file.set_data((signal + rng.normal(size=SHAPE)).astype(np.float32))
            file.voxel_size = 2.0
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        mask = np.zeros(SHAPE, np.float32)
        mask[5:-5, 5:-5, 5:-5] = 0.5
        mask[6:-6, 6:-6, 6:-6] = 1
        file.set_data(mask)
        file.voxel_size = 2.0
    return tmp_path


def invoke(app, *arguments):
    return CliRunner().invoke(app, ["fsc", *map(str, arguments)], catch_exceptions=False)


def test_json_is_the_only_thing_on_stdout_and_names_files_that_exist(app, halves):
    out = halves / "out"
    arguments = ("--threshold", "0.3", "--threshold", "0.143", "-m", halves / "mask.mrc", "--json")
    done = invoke(app, halves / "job_half1.mrc", "-o", out, *arguments)
    assert done.exit_code == 0
    summary = json.loads(done.stdout)
    assert summary["reported_curve"] == "corrected"
    assert {found["threshold"] for found in summary["crossings"]} == {
        "0.3",
        "0.143",
        "half-bit",
        "3-sigma",
    }
    assert set(summary["outputs"]) == {"csv", "star", "xml", "plot_svg", "plot_png"}
    assert all(Path(path).stat().st_size > 100 for path in summary["outputs"].values())
    assert json.loads((out / "run.json").read_text())["fsc"]["threshold"] == 0.3


def test_text_names_the_headline(app, halves):
    done = invoke(app, halves / "job_half1.mrc", halves / "job_half2.mrc", "-o", halves / "out")
    assert done.exit_code == 0
    assert "unmasked FSC at 0.143" in done.stdout
    assert "half-bit" in done.stdout


def test_options_of_other_packages_are_understood(app, halves):
    done = invoke(
        app, halves / "job_half1.mrc", "-o", halves / "out", "--angpix", "1", "--cutoff", "0.5",
        "--json",
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["nyquist_angstrom"] == 2.0
    assert summary["threshold"] == 0.5


def test_an_existing_run_is_kept_unless_told_otherwise(app, halves):
    arguments = (halves / "job_half1.mrc", "-o", halves / "out")
    assert invoke(app, *arguments).exit_code == 0
    with pytest.raises(OutputExistsError):
        invoke(app, *arguments)
    assert invoke(app, *arguments, "--overwrite").exit_code == 0
    assert invoke(app, *arguments, "--resume").exit_code == 0


def test_a_dry_run_writes_nothing(app, halves):
    done = invoke(app, halves / "job_half1.mrc", "-o", halves / "out", "--dry-run")
    assert "28 x 26 x 24 voxels, in one piece" in done.stdout
    assert not (halves / "out").exists()


def test_a_written_configuration_gives_the_same_run(app, halves):
    half, config = halves / "job_half1.mrc", halves / "fsc.toml"
    chosen = ("--threshold", "0.2", "--seed", "5", "--randomise-from", "9")
    written = invoke(app, half, "-o", halves / "out", *chosen, "--write-config", config)
    assert written.exit_code == 0
    assert not (halves / "out").exists()
    done = invoke(app, half, "--config", config, "--json")
    assert done.exit_code == 0
    parameters = json.loads((halves / "out" / "run.json").read_text())["parameters"]
    assert parameters["thresholds"] == [0.2]
    assert parameters["seed"] == 5
    assert parameters["randomise_from_angstrom"] == 9


def test_a_threshold_that_means_nothing_is_refused_before_anything_is_read(app, tmp_path):
    with pytest.raises(UsageError, match="between 0 and 1"):
        invoke(app, tmp_path / "missing_half1.mrc", "--threshold", "3")
