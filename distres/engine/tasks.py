"""What travels to a worker and back: a job without its tiles, tile numbers, small outcomes."""

import os
import pickle
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cloudpickle
import numpy.typing as npt

from distres.engine.jobs import OutputSpec, Source, TileFunction, TileInputs, TileJob
from distres.engine.outputs import write_part
from distres.engine.process import peak_memory_bytes, settle_process
from distres.engine.tables import as_row
from distres.engine.tiles import Tile, TilePlan
from distres.errors import ClusterError, DistresError
from distres.io.stores import StoreLike

TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTask:
    """Everything needed to compute any tile of a job.

    Attributes
    ----------
    store
        Where results are written; None computes and drops them (trials).
    """

    plan: TilePlan
    function: TileFunction
    inputs: Mapping[str, Source]
    outputs: Mapping[str, OutputSpec]
    parameters: Mapping[str, Any]
    store: StoreLike | None

    @classmethod
    def of(cls, job: TileJob, store: StoreLike | None) -> "TileTask":
        """Take from a job what workers need: not its list of tiles, which may be long."""
        return cls(
            plan=job.plan,
            function=job.function,
            inputs=job.inputs,
            outputs=job.outputs,
            parameters=job.parameters,
            store=store,
        )

    def packed(self) -> bytes:
        """Return the task as bytes, made once and sent with every pack of tiles."""
        data: bytes = cloudpickle.dumps(self)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a tile raised.

    Attributes
    ----------
    cause
        Type and message of the exception.
    trace
        Its traceback, capped.
    number
        Its errno, when it came from the operating system.
    final
        A second try cannot help.
    """

    cause: str
    trace: str = ""
    number: int | None = None
    final: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an exception in a form that travels."""
        cause: BaseException | None = error
        number = None
        while cause is not None and number is None:
            number = cause.errno if isinstance(cause, OSError) else None
            cause = cause.__cause__ or cause.__context__
        known = isinstance(error, DistresError)
        return cls(
            cause=str(error) if known else f"{type(error).__name__}: {error}",
            trace="".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
            number=number,
            final=known,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one tile: a row, or the failure that kept it from giving one."""

    tile: int
    row: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    failure: Failure | None = None
    seconds: float = 0.0
    written_bytes: int = 0
    peak_memory_bytes: int = 0
    process: str = ""


@lru_cache(maxsize=4)
def unpack(data: bytes) -> TileTask:
    """Return the task in `data`; a worker does this once a job."""
    task: TileTask = pickle.loads(data)
    return task


def compute_pack(data: bytes, tiles: Sequence[int]) -> list[Outcome]:
    """Compute some tiles one after the other; one that raises does not stop the others."""
    task = unpack(data)
    return [compute_tile(task, index) for index in tiles]


def compute_tile(task: TileTask, index: int) -> Outcome:
    """Compute one tile, write its parts, and tell what came of it."""
    started = time.perf_counter()
    process = f"{socket.gethostname()}:{os.getpid()}"
    try:
        settle_process()
        tile = task.plan.tile(index)
        result = task.function(TileInputs(tile=tile, sources=task.inputs), task.parameters)
        written = _write(task, tile, result.arrays)
        row = as_row(result.row)
    except Exception as error:
        seconds = time.perf_counter() - started
        failure = Failure.of(error)
        return Outcome(tile=index, failure=failure, seconds=seconds, process=process)
    return Outcome(
        tile=index,
        row=row,
        seconds=time.perf_counter() - started,
        written_bytes=written,
        peak_memory_bytes=peak_memory_bytes(),
        process=process,
    )


def _write(task: TileTask, tile: Tile, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    for path in arrays:
        if path not in task.outputs:
            raise ClusterError(f"the tile gave '{path}', which the job does not declare")
    if task.store is None:
        return sum(int(values.nbytes) for values in arrays.values())
    return sum(
        write_part(task.store, path, task.outputs[path], tile, values)
        for path, values in arrays.items()
    )
