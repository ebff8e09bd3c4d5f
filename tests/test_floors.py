"""The floors stay floors, and the command line stays quick."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "scipy", "dask", "distributed", "zarr", "matplotlib", "xarray")
LIMIT_SECONDS = 0.5
HELP = "import sys; sys.argv = ['distres', '--help']; from distres.cli.main import run; run()"


def python(*arguments, check=True):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=check, cwd=ROOT
    )


def cpu_seconds(code):
    """CPU time of a fresh interpreter that runs `code`, the best of three.

    CPU time of a loaded machine varies upwards only; the best is nearest to what the code takes.
    """
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("-c", code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        )
    return min(spent)


def imported(module):
    """Names of all modules that importing `module` loads."""
    done = python("-X", "importtime", "-c", f"import {module}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines[1:]}


def test_imports_point_down_only():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    done = python(
        "-c",
        "import sys; from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(no_cache=True))",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("code", ["import distres", HELP], ids=["import", "help"])
def test_starting_takes_less_than_half_a_second_of_cpu(code):
    assert cpu_seconds(code) < LIMIT_SECONDS


@pytest.mark.parametrize("module", ["distres", "distres.cli.main"])
def test_starting_loads_nothing_heavy(module):
    loaded = imported(module)
    assert module in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY}


def test_help_of_every_command_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from distres.cli.main import app, _mount_plugins\n"
        "import typer\n"
        "_mount_plugins()\n"
        "def walk(command, context):\n"
        "    command.get_help(context)\n"
        "    for name, child in getattr(command, 'commands', {}).items():\n"
        "        walk(child, typer.Context(child, info_name=name, parent=context))\n"
        "root = typer.main.get_command(app)\n"
        "walk(root, typer.Context(root, info_name='distres'))\n"
        f"print('loaded:', *sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY!r})))\n"
    )
    done = python("-c", code)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
