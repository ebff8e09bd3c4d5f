"""MRC and CCP4 files: every oddity of the header on reading, one clean form on writing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MrcHeader:
    """What a derived map copies from its source's header, in file terms (x, y, z).

    Attributes
    ----------
    nstart
        First column, row and section, already permuted to x, y, z.
    origin
        ORIGIN field in angstrom (x, y, z).
    cell_angstrom
        Cell edges; with `sampling` it gives the voxel size.
    sampling
        mx, my, mz.
    """

    nstart: tuple[int, int, int] = (0, 0, 0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cell_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sampling: tuple[int, int, int] = (0, 0, 0)
