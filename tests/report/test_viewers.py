"""Viewer scripts hold the right commands, and nothing that a file name could smuggle in."""

import ast
import re
from pathlib import Path

import pytest

from distres.errors import InputError
from distres.report.colours import RAMP, UNRESOLVED, Limits
from distres.report.quoting import chimerax_quote, comment, relative_name
from distres.report.viewers import chimerax_script, napari_script

LIMITS = Limits(high_res=3.0, low_res=7.0)
HOSTILE = [
    "a b.mrc",
    "a;close.mrc",
    "it's.mrc",
    "~root.mrc",
    "-x.mrc",
    "https:x.mrc",
    "ü$1.mrc",
    "back\\slash.mrc",
    "{density}.mrc",
]


def commands(script):
    return [line for line in script.splitlines() if not line.startswith("#")]


def test_chimerax_script_is_what_the_manual_asks_for(tmp_path):
    run = tmp_path / "run"
    script = chimerax_script(
        tmp_path / "half1.mrc", run / "a_locres_fill.mrc", LIMITS, directory=run, heading="a run"
    )
    lines = commands(script)
    values = [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7]
    palette = ":".join(f"{v:g},{c}" for v, c in zip(values, RAMP, strict=True))
    key = " ".join(
        f"{c}:{v:g}" if i % 2 == 0 else f"{c}:"
        for i, (v, c) in enumerate(zip(values, RAMP, strict=True))
    )
    assert lines == [
        'open "../half1.mrc"',
        'open "./a_locres_fill.mrc"',
        "volume #2 hide",
        "volume #1 style surface",
        f"color sample #1 map #2 palette {palette} outsideColor {UNRESOLVED}",
        f"key {key} pos 0.7,0.06 size 0.25,0.03 fontSize 18",
        '2dlabels text "local resolution (Å)" size 18 xpos 0.7 ypos 0.11',
        "set bgColor white",
        "lighting soft",
        "view",
    ]
    assert script.startswith("# a run\n")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_their_quotes(tmp_path, name):
    script = chimerax_script(tmp_path / name, tmp_path / f"f{name}", LIMITS, directory=tmp_path)
    assert len(commands(script)) == 10
    opened = re.findall(r'^open "([^"]*)"$', script, flags=re.MULTILINE)
    assert opened == [f"./{name}", f"./f{name}"]


@pytest.mark.parametrize(
    "name", ['a".mrc', 'a" ; close.mrc', "a\nclose.mrc", "a\u2028b.mrc", "a\x07"]
)
def test_names_that_cannot_be_quoted_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="rename"):
        chimerax_script(tmp_path / name, tmp_path / "f.mrc", LIMITS, directory=tmp_path)
    with pytest.raises(InputError, match="rename"):
        chimerax_script(None, tmp_path / name, LIMITS, directory=tmp_path)


def test_headings_cannot_end_their_comment(tmp_path):
    script = chimerax_script(
        None, tmp_path / "f.mrc", LIMITS, directory=tmp_path, heading="x\nclose all\r\u2028exit"
    )
    assert script.splitlines()[0] == "# x close all exit"
    assert commands(script)[0].startswith("open ")


def test_names_are_relative_so_that_runs_can_be_moved(tmp_path):
    assert relative_name(tmp_path / "run" / "a.mrc", tmp_path / "run") == "./a.mrc"
    assert relative_name(tmp_path / "b" / "a.mrc", tmp_path / "run") == "../b/a.mrc"


def test_quoting_and_comments():
    assert chimerax_quote("a b;c") == '"a b;c"'
    assert comment(" a\n\tb ") == "a b"
    with pytest.raises(InputError):
        chimerax_quote("")


@pytest.mark.parametrize("name", [*HOSTILE, 'a".mrc', "a\nimport os.mrc", 'a""".mrc', "a'''.mrc"])
def test_napari_script_is_python_that_names_the_files(tmp_path, name):
    script = napari_script(
        tmp_path / name, tmp_path / f"f{name}", LIMITS, directory=tmp_path, name=name,
        voxel_size_angstrom=(3.0, 2.0, 1.0), origin_angstrom=(0.0, -5.0, 5.0), heading=name,
    )  # fmt: skip
    tree = ast.parse(script)
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper() and target.id != "HERE"
    }
    assert constants == {
        "DENSITY": relative_name(tmp_path / name, tmp_path),
        "LOCAL_RESOLUTION": relative_name(tmp_path / f"f{name}", tmp_path),
        "VOXEL_SIZE_ANGSTROM": (3.0, 2.0, 1.0),
        "ORIGIN_ANGSTROM": (0.0, -5.0, 5.0),
        "LIMITS_ANGSTROM": (3.0, 7.0),
        "COLOURS": list(RAMP),
    }
    # Only the imports of the template.
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(imports) == 4
    assert Path(constants["DENSITY"]).name == name


def test_napari_script_does_without_a_density(tmp_path):
    script = napari_script(
        None, tmp_path / "f.mrc", LIMITS, directory=tmp_path, name="n.py",
        voxel_size_angstrom=(1.0, 1.0, 1.0), origin_angstrom=(0.0, 0.0, 0.0),
    )  # fmt: skip
    assert "DENSITY = None" in script
    ast.parse(script)
