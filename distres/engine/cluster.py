"""Where tiles are computed: in this process, on local workers, or on a scheduler's workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A place to compute tiles; `client` is None when that place is this process."""

    client: Any = None
    workers: int = 1
    memory_bytes: int | None = None


@contextmanager
def open_executor(
    spec: str = "none", *, workers: int | None = None, memory_bytes: int | None = None
) -> Iterator[Executor]:
    """Open ``none``, ``local``, ``tcp://...`` or a profile file, and close it at the end."""
    if spec != "none":
        raise NotImplementedError(spec)
    yield Executor(workers=1, memory_bytes=memory_bytes)
