"""One face for every kind of volume: what it is, where it lies, and reading a region of it."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distres.io.mrc import MrcHeader

Float3 = tuple[float, float, float]
Shape3 = tuple[int, int, int]
Region = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of a volume lie. All triples are (z, y, x).

    Attributes
    ----------
    shape
        Voxels.
    voxel_size_angstrom
        Edge lengths of one voxel in angstrom; may differ between axes.
    origin_angstrom
        Position of the centre of voxel (0, 0, 0) in angstrom.
    """

    shape: Shape3
    voxel_size_angstrom: Float3
    origin_angstrom: Float3 = (0.0, 0.0, 0.0)


class Volume(Protocol):
    """A three-dimensional image that can be read region by region.

    Volumes are small and picklable: they hold names and open their files when read, so that they
    can be the `Source` of a tile job.
    """

    @property
    def path(self) -> str:
        """What the user named."""
        ...

    @property
    def grid(self) -> Grid:
        """Shape, voxel size and position."""
        ...

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x)."""
        ...

    @property
    def header(self) -> MrcHeader | None:
        """The MRC header that exports copy; None for volumes that never had one."""
        ...

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a region as float32 (z, y, x), whatever the stored type and axis order."""
        ...

    def identity(self) -> dict[str, Any]:
        """Say what decides the content: place, size, modification time, header hash."""
        ...
