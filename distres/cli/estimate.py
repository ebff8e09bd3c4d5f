"""`distres estimate`, and `--dry-run` of methods: the command itself, with a few tiles of each job.

Everything else is done for real, in a folder that vanishes: starting, reading, the search for a
mask, pictures, closing. What is forecast is what the tiles left out would have taken.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distres.errors import UsageError

if TYPE_CHECKING:
    from distres.engine.rehearsal import Rehearsal
    from distres.methods.options import RunOptions
    from distres.methods.trial import ChainEstimate

# What they find decides which tiles the passes after them have, or is in few of their tiles.
_DECIDING = ("check_mask", "draw_mask", "resmap spectrum", "resmap variance")
# Without a mask one is looked for in the maps, and that needs all of them.
_SEARCHED = ("copy ", "halve ")


class _Clock:
    """When what is measured began; the program's own start once it is known to be a program."""

    started = 0.0
    whole_process = False


def from_the_start() -> None:
    """Count the time that this process took to start, too: it does one command and ends."""
    _Clock.whole_process = True


def start(context: typer.Context, value: bool) -> bool:
    """Begin a rehearsal that lasts as long as the command: callback of ``--dry-run``."""
    if value and not context.resilient_parsing:
        context.with_resource(_rehearse())
    return value


@contextmanager
def _rehearse() -> Iterator[None]:
    _Clock.started = time.perf_counter()
    from distres.engine.attempt import attempt
    from distres.engine.rehearsal import Rehearsal, rehearsing
    from distres.methods.mask_tiles import OCCUPANCY, OCCUPANCY_DIVISOR

    with rehearsing(
        Rehearsal(
            attempt=attempt,
            whole=_DECIDING,
            guide=OCCUPANCY,
            guide_divisor=OCCUPANCY_DIVISOR,
        )
    ):
        yield


def aside(context: typer.Context, options: "RunOptions", *, finds_mask: bool) -> "RunOptions":
    """Return options for a folder that vanishes with the command, if this is a rehearsal."""
    from distres.engine.rehearsal import current

    rehearsal = current()
    if rehearsal is None:
        return options
    if finds_mask and options.mask is None:
        rehearsal.whole += _SEARCHED
    # Where the run would write, so that it is the same disk.
    beside = (options.output or Path("run")).resolve().parent
    place = context.with_resource(
        TemporaryDirectory(prefix=".distres-estimate-", dir=beside if beside.is_dir() else None)
    )
    return replace(
        options,
        output=Path(place) / "run",
        store=None,
        resume=False,
        overwrite=False,
        dry_run=False,
    )


def forecast(rehearsal: "Rehearsal", workers: int) -> "ChainEstimate":
    """Return what the whole run would take, now that the rehearsal is over."""
    from distres.methods.trial import ChainEstimate

    elapsed = time.perf_counter() - _Clock.started
    if _Clock.whole_process:
        import psutil

        elapsed = time.time() - psutil.Process().create_time()
    total = elapsed - rehearsal.spent_seconds + rehearsal.expected_seconds
    jobs = sum(job.seconds for job in rehearsal.jobs)
    return ChainEstimate(
        jobs=tuple(rehearsal.jobs), workers=workers, other_seconds=max(total - jobs, 0.0)
    )


def estimate(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND ARGS...", help="A command as it would be typed."),
    ],
) -> None:
    """Say what a command would take: tiles, memory, disk and wall time, from a few tiles.

    The same as the command with --dry-run. Example: distres estimate localfsc half1.mrc -m
    mask.mrc --workers 8
    """
    command, rest = context.find_root().command, list(words)
    while rest and hasattr(command, "get_command"):
        name = rest.pop(0)
        inner = command.get_command(context, name)
        if inner is None:
            raise UsageError(f"there is no command '{name}' to estimate; see distres --help")
        command = inner
    if not any(parameter.name == "dry_run" for parameter in command.params):
        raise UsageError(
            f"'{' '.join(words[: len(words) - len(rest)])}' cannot be estimated: it has no "
            "--dry-run; the methods of local resolution have"
        )
    name = command.name or ""
    with command.make_context(name, [*rest, "--dry-run"], parent=context) as inside:
        command.invoke(inside)


def register(app: typer.Typer) -> None:
    """Add the command."""
    settings: dict[str, Any] = {
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    }
    app.command(name="estimate", context_settings=settings)(estimate)
