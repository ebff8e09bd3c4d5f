"""The rows that tiles return, gathered in tile order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.errors import ClusterError

Row = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStats:
    """What computing the rows cost.

    Attributes
    ----------
    computed
        Tiles computed by this call.
    resumed
        Tiles taken from the ledger.
    wall_seconds
        Time of this call.
    tile_seconds
        Sum of the computed tiles' own times.
    peak_memory_bytes
        Largest resident memory of any process that computed a tile, by process.
    """

    computed: int = 0
    resumed: int = 0
    wall_seconds: float = 0.0
    tile_seconds: float = 0.0
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a job, in tile order.

    Attributes
    ----------
    tiles
        (rows,) int64 tile indices.
    columns
        For every name of the row, an array (rows, ...).
    stats
        What computing them cost.
    """

    tiles: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]
    stats: JobStats = field(default_factory=JobStats)

    def sum(self, name: str) -> npt.NDArray[Any]:
        """Sum a column over tiles: exactly for integers, correctly rounded for floats."""
        column = self.columns[name]
        if not np.issubdtype(column.dtype, np.floating):
            return np.asarray(column.sum(axis=0))
        flat = column.reshape(len(column), -1)
        return np.array([fsum(flat[:, j]) for j in range(flat.shape[1])]).reshape(column.shape[1:])


def as_row(row: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Bring a row to the types that reduce exactly: integers, booleans, float64.

    Raises
    ------
    ClusterError
        A value is neither.
    """
    checked = {}
    for name, value in row.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
        elif array.dtype.kind not in "iub":
            raise ClusterError(f"row value '{name}' is {array.dtype}; rows hold numbers only")
        checked[name] = array
    return checked
