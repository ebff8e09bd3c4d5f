import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from distres.cli.files import register
from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.errors import InputError, OutputExistsError
from distres.io.volume import open_volume
from distres.methods.pyramid import ingest

ALL = (slice(None),) * 3
app = typer.Typer()
register(app)


def call(*words):
    """Run a command; errors of ours come out as they are."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_info_says_what_a_file_holds_and_where_it_lies(make_mrc, ramp):
    path = make_mrc(ramp, name="map_half1.mrc", axes=(3, 1, 2), nstart=(1, 2, 3), mode=1)
    make_mrc(ramp, name="map_half2.mrc")
    found = json.loads(call("info", path, "--json"))
    assert found["usable"] is True
    assert found["size_vox"] == [7, 6, 5]
    assert found["axis_order"] == "zxy"
    assert found["type"] == "int16 (mode 1)"
    assert found["first_voxel_angstrom"] == [1.5, 3.0, 4.5]
    assert found["other_half"].endswith("map_half2.mrc")
    shown = call("info", path)
    assert "1.5, 3, 4.5" in shown


def test_info_shows_files_that_methods_refuse_with_the_reason(make_mrc, ramp):
    path = make_mrc(ramp, angles=(90.0, 90.0, 120.0))
    found = json.loads(call("info", path, "--json"))
    assert found["usable"] is False
    assert "angles 90, 90, 120" in found["why_not"]
    assert found["size_vox"] == [7, 6, 5]


def test_info_of_several_files_shows_the_good_ones_and_fails_for_the_bad_one(make_mrc, ramp):
    path = make_mrc(ramp)
    result = CliRunner().invoke(app, ["info", str(path), "absent.mrc", "--json"])
    assert isinstance(result.exception, InputError)
    assert [entry["usable"] for entry in json.loads(result.stdout)] == [True, False]


def test_convert_and_export_round_trip(tmp_path, make_mrc, ramp):
    path = make_mrc(ramp, nstart=(1, 2, 3))
    target = tmp_path / "a.zarr"
    said = json.loads(call("convert", path, target, "--ngff", "0.5", "--json"))
    assert said["statistics"]["maximum"] == ramp.max()
    found = json.loads(call("info", target, "--json"))
    assert found["format"] == "OME-Zarr 0.5"
    assert found["mrc_header_kept"] is True
    assert found["level_filter"] == "kaiser-half-band-47"
    with pytest.raises(OutputExistsError):
        call("convert", path, target)
    back = tmp_path / "back.mrc"
    call("export", target, back, "--dtype", "float16")
    volume = open_volume(back)
    assert volume.header.mode == 12
    assert volume.header.nstart == (1, 2, 3)
    np.testing.assert_array_equal(volume.read(ALL), ramp)  # integers below 2048 fit float16


def test_info_of_a_run_lists_its_arrays_and_says_whether_it_is_finished(tmp_path, make_mrc, ramp):
    with Run.open(tmp_path / "run") as run:
        ingest(open_volume(make_mrc(ramp)), run, "half1", Executor(memory_bytes=2 << 30), 1)
        unfinished = json.loads(call("info", run.directory, "--json"))
        assert "not finished" in unfinished["notices"][0]
        run.write_record({"method": "localfsc", "statistics": {"0.5": {"median": 3.2}}})
    found = json.loads(call("info", tmp_path / "run", "--json"))
    assert found["method"] == "localfsc"
    assert found["statistics"]["0.5"]["median"] == 3.2
    assert found["arrays"]["inputs/half1/0"]["shape_zyx"] == [5, 6, 7]
    assert found["arrays"]["inputs/half1/0"]["statistics"]["maximum"] == ramp.max()


def test_other_programs_names_of_options_work(tmp_path, make_mrc, ramp):
    path = make_mrc(ramp, cell=(0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="--pixel-size"):
        call("convert", path, tmp_path / "a.zarr")
    call("convert", path, tmp_path / "b.zarr", "--angpix", "2.5")
    assert open_volume(tmp_path / "b.zarr").grid.voxel_size_angstrom == (2.5, 2.5, 2.5)


def test_the_commands_cost_nothing_until_they_run():
    code = (
        "import sys, distres.cli.files; "
        "print(sorted({'zarr', 'numpy', 'dask', 'torch', 'xarray', 'scipy'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
