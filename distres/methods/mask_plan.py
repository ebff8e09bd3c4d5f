"""What decides an automatic mask."""

from dataclasses import dataclass, replace

from distres.errors import UsageError
from distres.io.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParameters:
    """How an automatic mask is made; lengths are in angstrom.

    Attributes
    ----------
    resolution_angstrom
        Low-pass of the search; None takes 15 angstrom, or four voxels of the level searched when
        that is more.
    false_positive_level
        Probability that noise alone passes the threshold anywhere in the box.
    density_fraction
        Fraction of the particle's median density at which its surface is drawn.
    component_fraction
        Smallest region kept, as a fraction of the largest.
    fill_holes
        Whether closed hollows belong to the mask.
    dilation_angstrom
        Growth beyond the surface; None takes 2 angstrom or one voxel, whichever is more.
    edge_angstrom
        Width of the raised cosine; None takes 5 voxels.
    """

    resolution_angstrom: float | None = None
    false_positive_level: float = 0.01
    density_fraction: float = 0.3
    component_fraction: float = 0.1
    fill_holes: bool = False
    dilation_angstrom: float | None = None
    edge_angstrom: float | None = None

    def __post_init__(self) -> None:
        for name in ("false_positive_level", "density_fraction", "component_fraction"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not at {value}")
        if self.resolution_angstrom is not None and not self.resolution_angstrom > 0:
            raise UsageError(
                f"the mask's low-pass must be positive, not {self.resolution_angstrom} angstrom"
            )
        for name in ("dilation_angstrom", "edge_angstrom"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} must be 0 or more, not {value}")

    def resolved(self, grid: Grid, factor: int) -> "MaskParameters":
        """Fill in what depends on the voxel size; `factor` is the search level's."""
        voxel = max(grid.voxel_size_angstrom)
        return replace(
            self,
            resolution_angstrom=self.resolution_angstrom or max(15.0, 4 * voxel * factor),
            dilation_angstrom=max(2.0, voxel)
            if self.dilation_angstrom is None
            else self.dilation_angstrom,
            edge_angstrom=5 * voxel if self.edge_angstrom is None else self.edge_angstrom,
        )
