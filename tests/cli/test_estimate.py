"""An estimate runs the command with few tiles, names every pass, and leaves nothing."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from distres.cli.main import app
from distres.engine.files import folder_name
from distres.errors import UsageError

SHAPE = (40, 44, 48)


@pytest.fixture
def scene(tmp_path, make_mrc, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    signal = np.cumsum(rng.standard_normal(SHAPE, dtype=np.float32), axis=2) / 4
    for half in (1, 2):
        make_mrc(signal + rng.standard_normal(SHAPE, dtype=np.float32), f"a_half{half}.mrc")
    place = np.indices(SHAPE) - np.reshape(SHAPE, (3, 1, 1, 1)) / 2
    make_mrc((np.square(place).sum(axis=0) < 15**2).astype(np.float32), "mask.mrc")
    return tmp_path


def call(*words):
    done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def given(folder, *more):
    files = [folder / name for name in ("a_half1.mrc", "a_half2.mrc")]
    return [*files, "-m", folder / "mask.mrc", "--cluster", "none", "--device", "cpu", *more]


# Not ResMap: how many wavelengths it tests depends on what all tiles find at those before.
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("localfsc", ["--tile", 16]),
        pytest.param(
            "monores",
            ["--tile", 16, "--resolution-range", 4, 12, "--step", 2],
            marks=pytest.mark.slow,
        ),
        pytest.param("blocres", ["--tile", 16, "--box", 9, "--step", 3], marks=pytest.mark.slow),
    ],
)
def test_an_estimate_names_the_passes_that_the_run_has_and_leaves_nothing(scene, command, options):
    before = sorted(scene.rglob("*"))
    words = given(scene, *options)
    found = json.loads(call("estimate", command, *words, "--json"))
    assert sorted(scene.rglob("*")) == before
    call(command, *words, "-o", scene / "run", "--no-pictures")
    ledgers = {
        file.parent.name: len(file.read_text().splitlines())
        for file in (scene / "run/ledger").glob("*/tiles.jsonl")
    }
    assert {folder_name(job["job"]): job["tiles"] for job in found["jobs"]} == ledgers
    if command == "localfsc":
        assert any(job["trial_tiles"] < job["tiles"] for job in found["jobs"])
    assert found["seconds"] >= sum(job["seconds"] for job in found["jobs"]) > 0


def test_an_estimate_is_the_commands_dry_run(scene):
    words = given(scene, "--tile", 16, "--json", "--no-pictures")
    both = [
        json.loads(call("estimate", "localfsc", *words)),
        json.loads(call("localfsc", *words, "--dry-run")),
    ]
    plans = [
        [(job["job"], job["tiles"], job["core_vox"], job["memory_bytes"]) for job in one["jobs"]]
        for one in both
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localfcs", "a.mrc"], "no command 'localfcs'"),
        (["convert", "a.mrc", "a.zarr"], "'convert' cannot be estimated"),
    ],
)
def test_what_cannot_be_estimated_is_said(words, said):
    with pytest.raises(UsageError, match=said):
        call("estimate", *words)
