"""Read the record of a finished run, refusing what is not one."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.elsewhere import store_of
from distres.engine.jobs import Source, ZarrSource
from distres.engine.sources import Layer
from distres.errors import InputError
from distres.report.colours import Limits, limits_from_percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Voxel counts inside the mask by resolution.

    Attributes
    ----------
    edges_angstrom
        (bins + 1,) float64, ascending.
    counts
        (bins,) int64.
    """

    edges_angstrom: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.edges_angstrom) != len(self.counts) + 1 or len(self.counts) == 0:
            raise InputError(
                f"a histogram of {len(self.counts)} bins needs one edge more, not "
                f"{len(self.edges_angstrom)}"
            )
        if not (np.diff(self.edges_angstrom) > 0).all():
            raise InputError("the edges of a histogram must ascend")

    @property
    def total(self) -> int:
        """Voxels that have a resolution."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """Return a percentile in angstrom, linear inside its bin; NaN for an empty histogram."""
        if not self.total:
            return float("nan")
        cumulative = np.concatenate([[0], np.cumsum(self.counts)])
        wanted = percent / 100 * self.total
        # Repeated values (empty bins) would make the inverse ambiguous: keep each value's first
        # and last place.
        first = int(np.searchsorted(cumulative, wanted, side="left"))
        if first == 0:
            first = int(np.searchsorted(cumulative, 0, side="right"))
        low, high = cumulative[first - 1], cumulative[first]
        edge = self.edges_angstrom
        share = (wanted - low) / (high - low)
        return float(edge[first - 1] + share * (edge[first] - edge[first - 1]))

    def merged(self, low: float, high: float, *, most: int = 80) -> "Histogram":
        """Merge neighbouring bins until at most `most` of them lie between `low` and `high`."""
        inside = int(((self.edges_angstrom >= low) & (self.edges_angstrom <= high)).sum())
        every = max(-(-inside // most), 1)
        starts = np.arange(0, len(self.counts), every)
        return Histogram(
            edges_angstrom=np.append(self.edges_angstrom[starts], self.edges_angstrom[-1]),
            counts=np.add.reduceat(self.counts, starts),
        )

    def limits(self) -> Limits:
        """Return the colour limits that this distribution asks for."""
        if not self.total:
            return Limits(
                high_res=float(self.edges_angstrom[0]), low_res=float(self.edges_angstrom[-1])
            )
        return limits_from_percentiles(self.percentile(2), self.percentile(98))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What ``run.json`` says, with places resolved.

    Attributes
    ----------
    directory
        The run.
    raw
        The record as it was written.
    thresholds
        In the run's order; the first is the main result.
    """

    directory: Path
    raw: dict[str, Any]
    thresholds: tuple[str, ...]
    histograms: dict[str, Histogram] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> "RunRecord":
        """Read ``run.json`` of a run directory.

        Raises
        ------
        InputError
            There is none, it is no JSON, or it misses what pictures are drawn from.
        """
        path = directory / "run.json"
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise InputError(
                f"{directory} holds no run.json: it is no run, or the run is not finished; finish "
                "it with --resume"
            ) from error
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if not isinstance(raw, dict):
            raise InputError(f"{path} is no record of a run")
        missing = [name for name in ("method", "grid", "arrays", "histograms") if name not in raw]
        if missing:
            raise InputError(
                f"{path} says nothing about {', '.join(missing)}: no picture can be drawn from it"
            )
        histograms = {
            str(name): Histogram(
                edges_angstrom=np.asarray(entry["edges_angstrom"], dtype=np.float64),
                counts=np.asarray(entry["counts"], dtype=np.int64),
            )
            for name, entry in raw["histograms"].items()
        }
        return cls(
            directory=directory,
            raw=raw,
            thresholds=tuple(histograms),
            histograms=histograms,
        )

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.raw["method"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x)."""
        z, y, x = self.raw["grid"]["shape"]
        return int(z), int(y), int(x)

    @property
    def voxel_size_angstrom(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel (z, y, x)."""
        z, y, x = self.raw["grid"]["voxel_size_angstrom"]
        return float(z), float(y), float(x)

    @property
    def origin_angstrom(self) -> tuple[float, float, float]:
        """Position of voxel (0, 0, 0), (z, y, x)."""
        z, y, x = self.raw["grid"].get("origin_angstrom", (0, 0, 0))
        return float(z), float(y), float(x)

    @property
    def outputs(self) -> dict[str, str]:
        """Exported files by name, relative to the directory."""
        return {str(k): str(v) for k, v in self.raw.get("outputs", {}).items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before trusting the result."""
        return tuple(str(line) for line in self.raw.get("warnings", ()))

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Numbers inside the mask, by threshold."""
        return {str(k): dict(v) for k, v in self.raw.get("statistics", {}).items()}

    @property
    def stem(self) -> str:
        """What file names of this run start with: the main result's name up to ``_locres``."""
        for path in self.outputs.values():
            name = Path(path).name
            if "_locres" in name:
                return name.split("_locres")[0]
        for path in self.outputs.values():
            return Path(path).stem
        return self.method

    def array(self, *names: str) -> ZarrSource | None:
        """Open the first array that the record has under one of `names`, or that lies there.

        Parameters
        ----------
        names
            Keys of the record's ``arrays``, or paths in the run's store.
        """
        store = store_of(self.directory)
        group = zarr.open_group(store, mode="r")
        for name in names:
            path = self.raw["arrays"].get(name, name)
            if isinstance(path, str) and isinstance(group.get(path), zarr.Array):
                return ZarrSource.of(store, path)
        return None

    def locres(self, threshold: str) -> Source:
        """Open the local resolution of a threshold, in angstrom.

        The record names one array for each threshold, or one array (threshold, z, y, x) whose
        thresholds are in the record's order.
        """
        place = self.raw["arrays"]["locres"]
        store = store_of(self.directory)
        if isinstance(place, str):
            whole = ZarrSource.of(store, place)
            if len(whole.shape) == 3:
                return whole
            return Layer(source=whole, index=self.thresholds.index(threshold))
        return ZarrSource.of(store, place[threshold])
