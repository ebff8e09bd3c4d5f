"""What every function of `import distres` is told besides its own parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distres.io.volume import VolumeLike
from distres.methods.options import RunOptions, parse_memory


@contextmanager
def options_for(
    output: str | Path | None,
    *,
    mask: VolumeLike | None,
    pixel_size: float | None,
    client: Any,  # noqa: ANN401 - Dask ships no types
    memory: str | None,
    resume: bool,
    overwrite: bool,
    symmetry: str = "C1",
    device: str = "auto",
) -> Iterator[RunOptions]:
    """Yield the options of a run in the directory to keep, or in one that vanishes.

    Parameters
    ----------
    output
        Run directory to keep; None for one that lasts as long as the context.
    mask, pixel_size, client, memory, resume, overwrite, symmetry
        As `distres.localfsc` is told.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        Options contradict each other, or `memory` is no amount of memory.
    """

    def options(directory: Path) -> RunOptions:
        return RunOptions(
            output=directory,
            mask=mask,
            pixel_size_angstrom=pixel_size,
            client=client,
            memory_bytes=parse_memory(memory) if memory else None,
            symmetry=symmetry,
            device=device,
            resume=resume,
            overwrite=overwrite,
        )

    if output is not None:
        yield options(Path(output))
        return
    with TemporaryDirectory(prefix="distres-") as place:
        yield options(Path(place) / "run")
