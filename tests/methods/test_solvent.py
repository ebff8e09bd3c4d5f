"""Where the noise of a single map is taken."""

import numpy as np
import pytest

from distres.io.grid import Grid
from distres.methods.solvent import NoiseSphere, cells_near

GRID = Grid(shape=(200, 200, 200), voxel_size_angstrom=(1.5, 1.5, 1.5))
CELL = 8 * 1.5
CENTRE = (150.0, 150.0, 150.0)


class Cells:
    """Occupied cells in a ball of some cells' radius, in the middle of the box."""

    def __init__(self, radius):
        axis = (np.arange(25) - 12) ** 2
        squared = axis[:, None, None] + axis[:, None] + axis
        self.values = (squared <= radius**2).astype(np.float32)

    def read(self, region):
        return self.values[region]


@pytest.mark.parametrize(
    ("reach", "margin"),
    [
        # A shell of 54 to 150 A is left beyond a wavelength of 30 A; 17 000 cubic wavelengths.
        (150.0, 30.0),
        # Beyond a wavelength hardly anything is left, beyond half of it enough.
        (92.0, 15.0),
        # The sphere ends at the mask: nothing but the mask can be left out.
        (50.0, 0.0),
    ],
)
def test_noise_is_taken_a_wavelength_away_or_as_far_as_there_is_solvent(reach, margin):
    cells = Cells(4)
    sphere = NoiseSphere(centre_angstrom=CENTRE, radius_angstrom=reach)
    near = cells_near(cells, GRID, sphere, 30.0) > 0
    # Along a line from the middle, beyond the last cell of the mask.
    beyond = np.flatnonzero(near[12, 12, 12:]).max() - 4
    assert beyond == int(margin // CELL)
    assert (near >= (cells.values > 0)).all()
