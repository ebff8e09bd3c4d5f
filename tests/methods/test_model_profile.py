"""The profile of an atomic model falls with the B-factors of its file, and is scaled to a map's."""

import numpy as np
import pytest

from distres.errors import InputError
from distres.kernels.guinier import bin_centres, fit_b_factor
from distres.methods.model_profile import model_amplitude, scaled_to

ATOM = "ATOM  {0:5d}  C   ALA A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00{4:6.2f}           C"
VOXEL = 1.5


def model_of(path, b):
    rng = np.random.default_rng(4)
    # 19 cubic angstrom an atom, as in a protein.
    places = rng.uniform(0, 22, (560, 3))
    lines = [ATOM.format(i + 1, *place, b) for i, place in enumerate(places)]
    path.write_text("\n".join([*lines, "END"]) + "\n")
    return path


def test_the_profile_falls_with_the_b_factor_of_the_file(tmp_path):
    sharp, blurred = (
        model_amplitude(model_of(tmp_path / f"b{b}.pdb", b), VOXEL) for b in (30.0, 90.0)
    )
    frequency = bin_centres(0.5 / VOXEL)
    # The same atoms: the ratio of amplitudes is exp(-60 f^2 / 4), whatever the structure factors.
    # A bin is 1/300 wide and its power is a mean over it: at 1/3 the slope 2 B f / 4 = 10 changes
    # ln F by 0.03 over a bin, second order in the mean.
    b, _ = fit_b_factor(frequency, blurred / sharp, high_angstrom=3.2)
    assert b == pytest.approx(60, rel=0.01)


def test_a_scaled_profile_lies_on_the_other_where_both_are_alike():
    frequency = bin_centres(0.5 / VOXEL)
    wanted = 7 * np.exp(-20 * frequency**2)
    found = scaled_to(np.exp(-20 * frequency**2), wanted, frequency, 3.5)
    assert np.allclose(found, wanted)
    nothing = np.full_like(wanted, np.nan)
    assert scaled_to(wanted, nothing, frequency, 3.5) is wanted


def test_a_file_without_atoms_is_refused(tmp_path):
    empty = tmp_path / "empty.pdb"
    empty.write_text("END\n")
    with pytest.raises(InputError, match="empty"):
        model_amplitude(empty, VOXEL)
