"""The command `distres mask`: what it prints, writes and refuses."""

import json

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from distres.cli.mask import register
from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.mrc_write import write_mrc

SHAPE = (40, 44, 48)
WHOLE = tuple(slice(n) for n in SHAPE)


@pytest.fixture
def app():
    app = Typer()
    register(app)
    app.command()(lambda: None)  # with one command only, Typer would drop its name
    return app


@pytest.fixture
def map_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z, y, x = np.ogrid[:40, :44, :48]
    ball = ((z - 20) ** 2 + (y - 22) ** 2 + (x - 24) ** 2 <= 10**2).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    grid = Grid(shape=SHAPE, voxel_size_angstrom=(1.3, 1.3, 1.3))
    write_mrc(tmp_path / "map.mrc", grid, None, [(WHOLE, 3 * ball + noise)])
    write_mrc(tmp_path / "noise.mrc", grid, None, [(WHOLE, noise)])
    return tmp_path


def test_json_is_all_that_goes_to_stdout(app, map_path):
    words = ["mask", "map.mrc", "-o", "out", "--dilate", "2", "--angpix", "1.25", "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["mask"] == "out/map_mask.mrc"
    assert summary["parameters"]["dilation_angstrom"] == 2.0
    assert summary["parameters"]["edge_angstrom"] == 5 * 1.25
    assert (map_path / "out" / "map_mask_slices.png").is_file()


def test_one_line_says_how_much_and_where(app, map_path):
    result = CliRunner().invoke(app, ["mask", "map.mrc", "-o", "m.mrc"], catch_exceptions=False)
    assert "% of the box" in result.stdout
    assert result.stdout.strip().endswith("written to m.mrc")
    assert (map_path / "m.mrc").is_file()


def test_noise_ends_in_one_sentence_and_leaves_no_mask(app, map_path):
    with pytest.raises(InputError, match="no particle found"):
        CliRunner().invoke(app, ["mask", "noise.mrc", "-o", "m.mrc"], catch_exceptions=False)
    assert sorted(path.name for path in map_path.iterdir()) == ["map.mrc", "noise.mrc"]


def test_written_options_give_the_same_mask(app, map_path):
    words = ["mask", "map.mrc", "--dilate", "3", "-o"]
    run = CliRunner()
    run.invoke(app, [*words, "a.mrc"], catch_exceptions=False)
    run.invoke(app, [*words, "b.mrc", "--write-config", "c.toml"], catch_exceptions=False)
    assert not (map_path / "b.mrc").exists()
    run.invoke(app, ["mask", "map.mrc", "--config", "c.toml"], catch_exceptions=False)
    a, b = ((map_path / name).read_bytes()[1024:] for name in ("a.mrc", "b.mrc"))
    assert a == b
