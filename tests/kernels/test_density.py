"""The density of atoms is their form factors' Fourier sum, up to Nyquist."""

import gemmi
import numpy as np
import pytest

from distres.errors import UsageError
from distres.kernels.density import Scatterers, density_map, form_factor_curves

CARBON = [[0.0893, 0.2563, 0.7570, 1.0487, 0.3575], [0.2465, 1.7100, 6.4094, 18.6113, 50.2523]]
OXYGEN = [[0.0974, 0.2921, 0.6910, 0.6990, 0.2039], [0.2067, 1.3815, 4.6943, 12.7105, 32.4726]]


def random_atoms(rng, count, box_angstrom, b_range):
    """Return atoms away from the faces of a box."""
    return Scatterers(
        positions_angstrom=rng.uniform(8, np.array(box_angstrom) - 8, (count, 3)),
        kinds=rng.integers(0, 2, count),
        form_factors=np.array([CARBON, OXYGEN]),
        b_factors=rng.uniform(*b_range, count),
        occupancies=rng.uniform(0.3, 1, count),
    )


def fourier_sum(atoms, shape, voxel):
    """Sum atom by atom in Fourier space; the unpaired Nyquist terms are left out."""
    axes = [np.fft.fftfreq(n, voxel) for n in shape]
    kz, ky, kx = np.meshgrid(*axes, indexing="ij")
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    unique, place = np.unique(k, return_inverse=True)
    total = np.zeros(shape, complex)
    for i in range(len(atoms)):
        f = form_factor_curves(
            atoms.form_factors[atoms.kinds[i : i + 1]], atoms.b_factors[i : i + 1], unique
        )
        z, y, x = atoms.positions_angstrom[i]
        phase = np.exp(-2j * np.pi * (kz * z + ky * y + kx * x))
        total += atoms.occupancies[i] * f[0][place.reshape(shape)] * phase
    for axis, n in enumerate(shape):
        if n % 2 == 0:
            cut = [slice(None)] * 3
            cut[axis] = n // 2
            total[tuple(cut)] = 0
    return np.fft.ifftn(total).real / voxel**3


@pytest.mark.parametrize(("shape", "voxel"), [((30, 33, 36), 1.0), ((24, 21, 28), 1.4)])
def test_density_is_the_fourier_sum_of_its_atoms(shape, voxel):
    rng = np.random.default_rng(1)
    atoms = random_atoms(rng, 40, np.array(shape) * voxel, (5, 120))
    exact = fourier_sum(atoms, shape, voxel)
    # Spreading kernel 2e-4, curve basis 1e-4, B in classes of 0.1: together below 1e-3.
    assert np.sqrt(np.mean((density_map(atoms, shape, voxel) - exact) ** 2)) < 1e-3 * exact.std()


@pytest.mark.parametrize(("voxel", "b_factor"), [(0.5, 30.0), (1.0, 100.0)])
def test_density_agrees_with_gemmi(voxel, b_factor):
    rng = np.random.default_rng(2)
    shape = (40, 44, 48)
    atoms = random_atoms(rng, 120, np.array(shape) * voxel, (b_factor, b_factor + 20))
    ours = density_map(atoms, shape, voxel)
    theirs = gemmi_density(atoms, shape, voxel)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999
    assert np.vdot(ours, theirs) / np.vdot(theirs, theirs) == pytest.approx(1, abs=0.005)


def gemmi_density(atoms, shape, voxel):
    model = gemmi.Model(1)
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    for i in range(len(atoms)):
        atom = gemmi.Atom()
        atom.element = gemmi.Element("CO"[atoms.kinds[i]])
        z, y, x = atoms.positions_angstrom[i]
        atom.pos = gemmi.Position(x, y, z)
        atom.b_iso, atom.occ = atoms.b_factors[i], atoms.occupancies[i]
        residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate, calculator.cutoff = 2 * voxel, 1, 1e-7
    edges = [n * voxel for n in reversed(shape)]
    calculator.grid.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_size(*reversed(shape))
    calculator.add_model_density_to_grid(model)
    return np.array(calculator.grid, copy=True).transpose(2, 1, 0)


def test_density_integrates_to_the_scattering_at_zero():
    rng = np.random.default_rng(3)
    shape, voxel = (32, 32, 32), 1.5
    atoms = random_atoms(rng, 30, np.array(shape) * voxel, (40, 80))
    weight = (
        form_factor_curves(atoms.form_factors[atoms.kinds], atoms.b_factors, np.zeros(1))[:, 0]
        @ atoms.occupancies
    )
    assert density_map(atoms, shape, voxel).sum() * voxel**3 == pytest.approx(weight, rel=1e-3)


def test_shifted_atoms_shift_the_density():
    rng = np.random.default_rng(4)
    atoms = random_atoms(rng, 30, (40, 40, 40), (20, 40))
    there = density_map(atoms.moved(np.eye(3), np.array([3.0, -2.0, 5.0])), (40, 40, 40), 1.0)
    here = np.roll(density_map(atoms, (40, 40, 40), 1.0), (3, -2, 5), axis=(0, 1, 2))
    # The spreading error depends on where an atom lies between grid points.
    assert np.sqrt(np.mean((there - here) ** 2)) < 1e-3 * here.std()


def test_low_pass_removes_what_it_says():
    rng = np.random.default_rng(5)
    atoms = random_atoms(rng, 60, (48, 48, 48), (10, 20))
    low = density_map(atoms, (48, 48, 48), 1.0, transfer=lambda k: (k < 0.2).astype(float))
    spectrum = abs(np.fft.fftn(low))
    axis = np.fft.fftfreq(48)
    k = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    # The transfer is interpolated on steps of 0.866 / 1023.
    assert spectrum[k > 0.201].max() < 1e-5 * spectrum[k < 0.2].max()
    assert spectrum[(k > 0.15) & (k < 0.199)].max() > 0.01 * spectrum.max()


def test_what_no_grid_can_hold_is_refused():
    rng = np.random.default_rng(6)
    atoms = random_atoms(rng, 5, (40, 40, 40), (20, 40))
    with pytest.raises(UsageError, match="at least one atom"):
        density_map(atoms.select(np.zeros(5, bool)), (40, 40, 40), 1.0)
    with pytest.raises(UsageError, match="sharpens"):
        density_map(random_atoms(rng, 5, (40, 40, 40), (-40, -30)), (40, 40, 40), 1.0)
