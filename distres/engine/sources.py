"""Sources made of other sources."""

from dataclasses import dataclass

import numpy as np

from distres.engine.jobs import Array, Json, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One volume of an array that has one axis before (z, y, x)."""

    source: Source
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels (z, y, x)."""
        return self.source.shape[1:]

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read a region of this volume alone."""
        return np.asarray(self.source.read((slice(self.index, self.index + 1), *region))[0])

    def identity(self) -> dict[str, Json]:
        """Say which array and which volume of it."""
        return {**self.source.identity(), "index": self.index}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean of two volumes, formed as it is read."""

    first: Source
    second: Source

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels (z, y, x)."""
        return self.first.shape

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read the mean of a region."""
        mean: Array = 0.5 * (self.first.read(region) + self.second.read(region))
        return mean

    def identity(self) -> dict[str, Json]:
        """Say which volumes."""
        return {"mean of": [self.first.identity(), self.second.identity()]}


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfDifference:
    """Half the difference of two volumes, formed as it is read: the noise of their mean."""

    first: Source
    second: Source

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels (z, y, x)."""
        return self.first.shape

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read half the difference of a region."""
        noise: Array = 0.5 * (self.first.read(region) - self.second.read(region))
        return noise

    def identity(self) -> dict[str, Json]:
        """Say which volumes."""
        return {"half difference of": [self.first.identity(), self.second.identity()]}
