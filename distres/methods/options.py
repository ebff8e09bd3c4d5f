"""What every method is told besides its own parameters."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distres.errors import UsageError
from distres.kernels.symmetry import settings_of

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MEMORY = re.compile(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


def parse_memory(text: str) -> int:
    """Read an amount of memory: ``2GB``, ``1.5GiB``, ``800M`` or plain bytes.

    Raises
    ------
    UsageError
        The text is no amount of memory.
    """
    match = _MEMORY.fullmatch(text)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if not match or number <= 0:
        raise UsageError(f"'{text}' is no amount of memory; write for instance 2GB or 1.5GiB")
    unit = match[2].upper()
    factor = _BINARY_UNITS[unit] if match[3] and unit else _UNITS[unit]
    return int(number * factor)


def require_thresholds(*thresholds: float) -> None:
    """Refuse correlations that no curve crosses.

    Raises
    ------
    UsageError
        One does not lie between 0 and 1.
    """
    for threshold in thresholds:
        if not 0 < threshold < 1:
            raise UsageError(f"a threshold lies between 0 and 1, not at {threshold}")


def ends_of(
    resolution_range: tuple[float, float] | None,
) -> tuple[float, float] | tuple[None, None]:
    """Return the finer and the coarser end of a range given in any order; None twice for none."""
    if resolution_range is None:
        return None, None
    return min(resolution_range), max(resolution_range)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run computes and where it writes; the same for every method.

    Attributes
    ----------
    output
        Run directory; None names it after the input and the method.
    store
        ``s3://bucket/place`` for the run's arrays; None keeps them in the run directory.
    pixel_size_angstrom
        Overrides the voxel size of all inputs.
    mask
        Path, address or array of a mask; None makes one.
    cluster
        ``none`` (this process), ``local``, a scheduler address, or a profile file.
    workers
        Worker processes; None takes what the machine or profile offers.
    memory_bytes
        Memory of one worker; None takes what the machine or profile offers.
    tile_vox
        Core edge of a tile in voxels; None lets the planner choose.
    device
        ``auto``, ``cpu`` or ``cuda``.
    symmetry
        Point group of the particle (`distres.kernels.symmetry`): one asymmetric unit is solved.
    resume, overwrite
        What to do when the run directory exists; neither refuses.
    dry_run
        Plan, try three tiles, report, and stop.
    argv
        The command line, for the record.
    client
        A Dask client to compute with, instead of what `cluster` says.
    """

    output: Path | None = None
    store: str | None = None
    pixel_size_angstrom: float | None = None
    mask: Any = None
    cluster: str = "none"
    workers: int | None = None
    memory_bytes: int | None = None
    tile_vox: int | None = None
    device: str = "auto"
    symmetry: str = "C1"
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    argv: tuple[str, ...] = field(default=())
    client: Any = None

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite replaces it; give one")
        if self.pixel_size_angstrom is not None and not self.pixel_size_angstrom > 0:
            raise UsageError(
                f"the pixel size must be positive, not {self.pixel_size_angstrom} angstrom"
            )
        if self.tile_vox is not None and self.tile_vox < 16:
            raise UsageError(f"a tile edge of {self.tile_vox} voxels is too small; use 16 or more")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"{self.workers} workers cannot compute anything; use 1 or more")
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device '{self.device}' is unknown; use auto, cpu or cuda")
        if self.dry_run:
            self.require_whole("--dry-run")
        else:
            settings_of(self.symmetry)

    @property
    def point_group(self) -> tuple[str, ...]:
        """Return the settings that the symmetry may mean.

        Raises
        ------
        UsageError
            It is no point group.
        """
        return settings_of(self.symmetry)

    def require_whole(self, what: str) -> None:
        """Refuse a symmetry where something works on whole volumes only.

        Raises
        ------
        UsageError
            A symmetry was given; the message names `what`.
        """
        if self.point_group != ("C1",):
            raise UsageError(f"{what} works on whole volumes; leave out --symmetry")
