"""What every method does first: open and check its inputs, its run directory and its workers."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from distres.engine.cluster import Executor, executor_of, open_executor
from distres.engine.devices import fit_to_devices, local_workers
from distres.engine.run import Run
from distres.errors import DistresWarning, UsageError
from distres.io.halves import open_halves
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.methods.options import RunOptions
from distres.methods.record import Stopwatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfMaps:
    """Two half maps on one grid, and the user's mask on the same grid if there is one.

    Attributes
    ----------
    half1, half2, mask
        The volumes.
    stem
        What names of outputs start with.
    notes
        What opening them warned of.
    """

    half1: Volume
    half2: Volume
    mask: Volume | None
    stem: str
    notes: tuple[str, ...] = ()

    @property
    def volumes(self) -> dict[str, Volume]:
        """Return the inputs by role."""
        found = {"half1": self.half1, "half2": self.half2}
        return found if self.mask is None else {**found, "mask": self.mask}


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what opening the inputs warns of, and say it once all of them are open."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DistresWarning)
        yield notes
    notes += dict.fromkeys(str(warning.message) for warning in caught)
    for note in notes:
        logger.warning("%s", note)


def open_half_maps(half1: VolumeLike, half2: VolumeLike | None, options: RunOptions) -> HalfMaps:
    """Open both half maps and the mask, and check them against each other in seconds.

    Parameters
    ----------
    half1, half2
        Paths, addresses or arrays; half 2 is found by name when it is None.
    options
        Gives the mask and the pixel size (which replaces that of all inputs).

    Raises
    ------
    InputError
        A file cannot be read, the halves are identical, or shapes, voxel sizes or positions differ.
    """
    with noting() as notes:
        pair = open_halves(half1, half2, options.pixel_size_angstrom)
        logger.info("half maps: %s and %s (%s)", pair.first.path, pair.second.path, pair.rule)
        mask = None
        if options.mask is not None:
            mask = open_volume(options.mask, options.pixel_size_angstrom)
            require_same_grid(pair.first, mask)
    return HalfMaps(
        half1=pair.first,
        half2=pair.second,
        mask=mask,
        stem=stem_of(pair.first.path),
        notes=tuple(notes),
    )


@dataclass(slots=True, kw_only=True)
class Session:
    """An open run: its directory, its workers, and what a reader must be warned of."""

    run: Run
    executor: Executor
    options: RunOptions
    warnings: list[str] = field(default_factory=list)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def warn(self, message: str) -> None:
        """Keep a warning for the record and say it now."""
        logger.warning("%s", message)
        self.warnings.append(message)


@contextmanager
def open_session(
    options: RunOptions,
    *,
    default_output: str,
    preflight: Callable[[Executor], object] | None = None,
) -> Iterator[Session]:
    """Open the run directory, then the workers; close both whatever happens.

    Parameters
    ----------
    options
        Where to write and where to compute.
    default_output
        Directory when the options name none.
    preflight
        Plans the run for the workers found, to refuse what cannot work. Only after it is an older
        run removed that the options allow to replace.

    Raises
    ------
    OutputExistsError
        The directory holds a run and neither resume nor overwrite was asked for.
    """
    stopwatch = Stopwatch()
    _check_device(options)
    with (
        _open_run(options, default_output) as run,
        _open_workers(options) as executor,
    ):
        if preflight is not None:
            preflight(executor)
        if options.overwrite and not options.dry_run:
            run.clear()
        if executor.dashboard:
            logger.info("Dask dashboard: %s", executor.dashboard)
        yield Session(run=run, executor=executor, options=options, stopwatch=stopwatch)


def _check_device(options: RunOptions) -> None:
    """Refuse a device that this computer lacks, where this computer does the work."""
    if options.device != "cuda" or options.client or options.cluster not in ("none", "local"):
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "--device cuda needs an NVIDIA GPU and a CUDA build of torch, and none is found here; "
            "use --device cpu, or auto"
        )


@contextmanager
def _open_run(options: RunOptions, default_output: str) -> Iterator[Run]:
    """Open the run directory without removing anything; a dry run gets one that vanishes."""
    directory = options.output or Path(default_output)
    if not options.dry_run:
        with Run.open(
            directory, resume=options.resume or options.overwrite, store=options.store
        ) as run:
            yield run
        return
    with (
        TemporaryDirectory(prefix="distres-dry-run-") as place,
        Run.open(Path(place) / "run") as run,
    ):
        yield run


@contextmanager
def _open_workers(options: RunOptions) -> Iterator[Executor]:
    """Use the caller's client, or open what the options say."""
    if options.client is not None:
        found = executor_of(options.client)
        found = replace(found, memory_bytes=options.memory_bytes or found.memory_bytes)
        yield fit_to_devices(found, options.device)
        return
    workers = options.workers
    if workers is None and options.cluster == "local":
        workers = local_workers(options.device)
    with open_executor(
        options.cluster, workers=workers, memory_bytes=options.memory_bytes
    ) as executor:
        yield fit_to_devices(executor, options.device)
