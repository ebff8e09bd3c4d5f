"""Configuration files, aliases and exit codes work the same for every command."""

import json
import subprocess
import sys
import tomllib

import pytest


def distres(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "distres.cli.main", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_written_configuration_gives_the_same_run(tmp_path):
    made = distres(
        "fsc", "a_half1.mrc", "--threshold", "0.3", "--pixel-size", "1.2", "--memory", "2GB",
        "--write-config", "run.toml", cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    config = tomllib.loads((tmp_path / "run.toml").read_text())
    assert config["threshold"] == [0.3]
    assert config["pixel-size"] == 1.2
    assert config["memory"] == "2GB"
    again = distres("fsc", "--config", "run.toml", "--write-config", "again.toml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert tomllib.loads((tmp_path / "again.toml").read_text()) == config


def test_an_unknown_name_in_a_configuration_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("treshold = [0.5]\n")
    found = distres("fsc", "a_half1.mrc", "--config", "run.toml", cwd=tmp_path)
    assert found.returncode == 2
    assert "treshold" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("alias", ["--angpix", "--apix", "--sampling"])
def test_habits_from_other_packages_are_understood(tmp_path, alias):
    found = distres("fsc", "a_half1.mrc", alias, "1.5", "--write-config", "c.toml", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert tomllib.loads((tmp_path / "c.toml").read_text())["pixel-size"] == 1.5


def test_a_missing_input_is_one_sentence_and_exit_code_3(tmp_path):
    found = distres("fsc", "nothing_half1.mrc", cwd=tmp_path)
    assert found.returncode == 3
    assert found.stderr.count("\n") == 1
    assert "Traceback" not in found.stderr


def test_json_output_is_json_alone(tmp_path):
    found = distres("info", "nothing.mrc", "--json", cwd=tmp_path)
    assert found.returncode == 3
    json.loads(found.stdout)
