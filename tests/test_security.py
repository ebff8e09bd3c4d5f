"""What comes from files is data: never executed, never a path out of where it belongs."""

import ast
import json
import os
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr

import distres
import tomo
from distres.engine.files import folder_name
from distres.engine.ledger import Ledger
from distres.engine.local import open_local
from distres.errors import DistresError
from distres.io.names import stem_of
from distres.io.volume import open_volume
from distres.methods.dataset import open_run
from tomo.pairs import find_pairs
from tomo.particles import resolution_at_particles

PACKAGES = [Path(distres.__file__).parent, Path(tomo.__file__).parent]
WHOLE = (slice(0, 4),) * 3
HOSTILE = ["../../x", "/etc/passwd", "a/../../b", "..", "a\nb", "$(touch x)", "`id`.zarr"]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@cache
def calls():
    return [
        (file, node, ast.unparse(node.func))
        for package in PACKAGES
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_nothing_is_unpickled_but_what_the_scheduler_brings():
    found = {
        file.name
        for file, _, name in calls()
        if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
        and name.endswith(("load", "loads", "Unpickler", "open"))
    }
    assert found == {"tasks.py"}


def test_arrays_and_weights_are_loaded_without_pickle():
    for file, node, name in calls():
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in ("np.load", "numpy.load"):
            # NumPy's default is no.
            allowed = given.get("allow_pickle", ast.Constant(False))
            assert allowed.value is False, f"{file}:{node.lineno}"
        if name == "torch.load":
            assert given["weights_only"].value is True, f"{file}:{node.lineno}"


def test_no_text_is_run_as_code_or_by_a_shell():
    for file, node, name in calls():
        where = f"{file}:{node.lineno}"
        assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.load"), where
        shells = [k for k in node.keywords if k.arg == "shell" and name.startswith("subprocess")]
        assert not shells, where


def test_a_ledger_segment_that_holds_a_pickle_is_damage_and_is_not_opened(tmp_path):
    Ledger.open(tmp_path / "l", {"a": 1}, job="j")
    trap = np.empty(1, dtype=object)
    trap[0] = Trap(tmp_path / "sprung")
    np.savez(tmp_path / "l/rows-000000.npz", tiles=trap)
    (tmp_path / "l/tiles.jsonl").write_text('{"tile": 0, "row": true}\n')
    assert Ledger.open(tmp_path / "l", {"a": 1}, job="j").done == set()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("form", ["filters", "compressor", "v3"])
def test_a_chunk_that_asks_to_be_unpickled_is_refused(tmp_path, form):
    store = tmp_path / "in.zarr"
    codec = {"id": "pickle", "protocol": 5}
    if form == "v3":
        zarr.create_array(str(store), data=np.ones((4,) * 3, "f4"), chunks=(4,) * 3, filters=None)
        metadata = json.loads((store / "zarr.json").read_text())
        metadata["codecs"] = [{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}]
        (store / "zarr.json").write_text(json.dumps(metadata))
        chunk = store / "c/0/0/0"
    else:
        store.mkdir()
        settings = {"filters": None, "compressor": None, form: codec}
        settings["filters"] = [codec] if form == "filters" else None
        metadata = {
            "zarr_format": 2, "shape": [4] * 3, "chunks": [4] * 3, "dtype": "<f4",
            "fill_value": 0, "order": "C", **settings,
        }  # fmt: skip
        (store / ".zarray").write_text(json.dumps(metadata))
        chunk = store / "0.0.0"
    chunk.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DistresError) as caught:
        open_volume(str(store), 1.5).read(WHOLE)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("path", ["../secret", "../../secret", "a/../../secret", "/secret"])
def test_an_image_cannot_name_arrays_outside_itself(tmp_path, path):
    data = np.ones((4, 4, 4), np.float32)
    zarr.create_array(str(tmp_path / "secret"), data=data)
    group = zarr.create_group(str(tmp_path / "in.zarr"))
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}]
    datasets = [{"path": path, "coordinateTransformations": scale}]
    image = {"axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with pytest.raises(DistresError) as caught:
        open_volume(str(tmp_path / "in.zarr")).read(WHOLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["../../secret", "/secret"])
def test_a_record_cannot_name_arrays_outside_its_run(tmp_path, path):
    zarr.create_array(str(tmp_path / "secret"), data=np.ones((4, 4, 4), np.float32))
    run = tmp_path / "run"
    zarr.create_group(str(run / "run.zarr"))
    grid = {"shape": [4] * 3, "voxel_size_angstrom": [1.0] * 3, "origin_angstrom": [0.0] * 3}
    (run / "run.json").write_text(json.dumps({"arrays": {"locres": path}, "grid": grid}))
    with pytest.raises((DistresError, ValueError, FileNotFoundError)):
        open_run(run, load=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_files_are_names_and_no_paths(name):
    # What is made of them: a job's folder, and files that a stem begins.
    for made in (folder_name(name), f"{stem_of(name)}_locres.mrc"):
        assert Path(os.path.normpath(f"run/below/{made}")).parent == Path("run/below")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("..", "../.."),
        ("../../x_half1.mrc", "../../x_half2.mrc"),
        ("a/../..", "b/../.."),
        ("$(touch x)_half1.mrc", "$(touch x)_half2.mrc"),
    ],
)
def test_a_star_file_cannot_choose_where_a_run_is_written(tmp_path, monkeypatch, first, second):
    project = tmp_path / "one/two/project"
    for folder in (project, project / "a", project / "b"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(project)
    for name in (first, second):
        if name.endswith(".mrc"):
            Path(name).touch()
    labels = " ".join(f"_rlnTomoReconstructedTomogramHalf{half}" for half in (1, 2))
    star = Path("tomograms.star")
    star.write_text(f"data_global\nloop_\n{labels}\n'{first}' '{second}'\n")
    (pair,) = find_pairs([str(star)])
    assert Path(os.path.normpath(f"runs/{pair.name}")).parent == Path("runs")
    assert not Path("x").exists()


def test_a_particle_table_names_no_file(tmp_path):
    run = tmp_path / "run"
    locres = np.full((1, 4, 4, 4), 7.0, np.float32)
    zarr.create_array(str(run / "run.zarr"), name="locres", data=locres)
    grid = {"shape": [4] * 3, "voxel_size_angstrom": [1.0] * 3}
    (run / "run.json").write_text(json.dumps({"arrays": {"locres": "locres"}, "grid": grid}))
    star = tmp_path / "in.star"
    places = " ".join(f"_rlnCoordinate{axis}" for axis in "XYZ")
    rows = "\n".join(f"{name!r} 1 1 1" for name in ("../../x", "/etc/passwd", "$(touch x)"))
    star.write_text(f"data_particles\nloop_\n_rlnTomoName {places}\n{rows}\n")
    before = set(tmp_path.rglob("*"))
    found = resolution_at_particles(run, star, tmp_path / "out.star", tomogram="../../x")
    np.testing.assert_array_equal(found.values, [7, np.nan, np.nan])
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out.star"}


@pytest.mark.cluster
def test_local_clusters_listen_to_this_machine_alone():
    with open_local(workers=1, memory_bytes=10**9) as (client, _):
        workers = set(client.run(os.getpid).values())
        for process in (psutil.Process(), *map(psutil.Process, workers)):
            listening = [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
            assert listening
            assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
