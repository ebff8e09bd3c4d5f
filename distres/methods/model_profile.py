"""The amplitudes of an atomic model over frequency: what a sharpened map should look like."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.guinier import FIT_FROM_ANGSTROM, radial_power
from distres.methods.phantom_chains import ModelParameters
from distres.methods.phantom_model import make_model

Float64 = npt.NDArray[np.float64]


def model_amplitude(structure: Path, voxel_size_angstrom: float) -> Float64:
    """Return the root of the mean power of a model's map in the bins of a Guinier profile.

    The map lies in a box of its own: a profile knows neither place nor orientation. Atoms keep the
    B-factors of the file.

    Parameters
    ----------
    structure
        PDB or mmCIF file.
    voxel_size_angstrom
        Of the map that the profile is compared with.

    Raises
    ------
    InputError
        The structure cannot be read.
    """
    parameters = ModelParameters(
        structure=structure, voxel_size_angstrom=voxel_size_angstrom, b_factor=None
    )
    density = torch.from_numpy(make_model(parameters).density)
    spacing = (voxel_size_angstrom,) * 3
    sums, counts = radial_power(density, spacing, 0.5 / voxel_size_angstrom)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(sums / counts), np.float64)


def scaled_to(
    amplitude: Float64, wanted: Float64, frequency_per_angstrom: Float64, finest_angstrom: float
) -> Float64:
    """Scale a profile to another: the same mean logarithm from 10 angstrom to the finest.

    Parameters
    ----------
    amplitude, wanted
        (bins,) profiles.
    frequency_per_angstrom
        (bins,) their frequencies.
    finest_angstrom
        Where the map ends.
    """
    low = min(1 / FIT_FROM_ANGSTROM, 0.5 / finest_angstrom)
    range_ = (frequency_per_angstrom >= low) & (frequency_per_angstrom <= 1 / finest_angstrom)
    known = range_ & (amplitude > 0) & (wanted > 0)
    if not known.any():
        return amplitude
    shift = np.mean(np.log(wanted[known]) - np.log(amplitude[known]))
    return np.asarray(amplitude * np.exp(shift), np.float64)
