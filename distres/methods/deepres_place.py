"""Where voxels of a map lie on the grid of a network, and what their answers are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from distres.kernels.answers import Neighbourhood
from distres.kernels.deepres import HALO_VOX, MARGIN
from distres.kernels.rescale import node_span, source_span


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a box of voxels lies on the network's grid, along z, y and x.

    Attributes
    ----------
    voxels
        Voxels of the map.
    nodes
        Nodes around them, one for every `every` voxels of the network's grid.
    grid
        Voxels of the network's grid that the nodes' windows hold.
    spans
        Voxels of the map that those are made of; they may lie outside it.
    """

    voxels: tuple[range, ...]
    nodes: tuple[range, ...]
    grid: tuple[range, ...]
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, box: tuple[slice, ...], spacing: list[float], target: float, every: int) -> "Place":
        """Find what the voxels of a box need."""
        voxels = tuple(range(s.start, s.stop) for s in box)
        nodes = tuple(
            node_span(places, step, target * every)
            for places, step in zip(voxels, spacing, strict=True)
        )
        return cls.around(nodes, spacing, target, every, voxels=voxels)

    @classmethod
    def around(
        cls,
        nodes: tuple[range, ...],
        spacing: list[float],
        target: float,
        every: int,
        *,
        voxels: tuple[range, ...] = (),
    ) -> "Place":
        """Find what the windows of some nodes need."""
        grid = tuple(
            range(n.start * every - HALO_VOX, (n.stop - 1) * every + HALO_VOX + 1) for n in nodes
        )
        spans = tuple(
            source_span(wide, step, target) for wide, step in zip(grid, spacing, strict=True)
        )
        return cls(voxels=voxels, nodes=nodes, grid=grid, spans=spans)

    def inner(self, other: "Place") -> tuple[slice, ...]:
        """Return where the nodes of another place lie among the nodes of this one."""
        return tuple(
            slice(theirs.start - mine.start, theirs.stop - mine.start)
            for mine, theirs in zip(self.nodes, other.nodes, strict=True)
        )


def grown(
    box: tuple[slice, ...], shape: tuple[int, ...], spacing: list[float], reach_angstrom: float
) -> tuple[slice, ...]:
    """Return a box of voxels with a margin all around, as far as the volume goes."""
    margins = [ceil(reach_angstrom / step) + 1 for step in spacing]
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, n))
        for s, n, margin in zip(box, shape, margins, strict=True)
    )


def neighbourhood(
    width_resolutions: float,
    every: int,
    voxel_size_angstrom: float,
    range_angstrom: Sequence[float],
) -> Neighbourhood:
    """Return how far the answers of a network are averaged."""
    fine, coarse = range_angstrom
    return Neighbourhood(
        width_resolutions=width_resolutions,
        node_vox=every,
        range_vox=(fine / MARGIN / voxel_size_angstrom, coarse * MARGIN / voxel_size_angstrom),
    )
