"""Fourier shell correlation inside a window around every wanted voxel, exactly, in batches."""

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.boxes import BoxDesign, box_spectra

Float32 = npt.NDArray[np.float32]

# Bytes of spectra in flight: what a core's second-level cache holds, or enough to fill a GPU.
_BATCH_BYTES = {"cpu": 2**22, "cuda": 2**29}


def box_fsc(
    half1: torch.Tensor,
    half2: torch.Tensor,
    design: BoxDesign,
    *,
    step: int = 1,
    wanted: npt.NDArray[np.bool_],
    subtract_mean: bool = True,
) -> Float32:
    """Correlate two half maps shell by shell in a windowed box around every wanted centre.

    Parameters
    ----------
    half1, half2
        (z, y, x) float32 on one device, larger than the grid of centres by a box less one voxel:
        the box of centre (i, j, k) begins at voxel ``step * (i, j, k)``.
    design
        Window, padding, shells.
    step
        Distance of centres in voxels.
    wanted
        (nz, ny, nx) centres to compute.
    subtract_mean
        Take the window-weighted mean out of every box first, so that no pedestal under the window
        correlates the low shells.

    Returns
    -------
    (wanted.sum(), shells) float32 in [-1, 1], in C order of the wanted centres; shell 0 is 1.

    Notes
    -----
    ``C = sum Re F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2)``, Harauz & van Heel 1986; local form
    Cardone, Heymann & Steven 2013, J Struct Biol 184, 226. The mean is taken out after the
    transform, where it is one coefficient: ``F[(h - m) w] = F[h w] - m F[w]``.
    """
    device = half1.device
    weights = torch.from_numpy(design.shell_weights().astype(np.float32)).to(device)
    pedestal = _window_spectrum(design).to(device) if subtract_mean else None
    kz, ky, kx = design.harmonics
    per_box = 2 * 8 * kz * ky * kx * 4
    batch = max(_BATCH_BYTES[device.type] // per_box, 1)
    sums = np.zeros((wanted.size, design.count), np.float32)
    for column in box_spectra((half1, half2), design, step=step, wanted=wanted, batch=batch):
        first, second = column.spectra
        if pedestal is not None:
            for spectrum in (first, second):
                _take_out(spectrum, pedestal)
        cross = shell_sums(first, second, weights)
        power = shell_sums(first, first, weights) * shell_sums(second, second, weights)
        # A box without any signal (a masked map) has no correlation, not an undefined one.
        curve = cross / power.clamp_min(torch.finfo(torch.float32).tiny).sqrt()
        sums[column.keep] = curve.clamp(-1, 1).cpu().numpy()
    sums[:, 0] = 1
    return sums[wanted.ravel()]


def _window_spectrum(design: BoxDesign) -> torch.Tensor:
    """Cosine part of the window's own spectrum over its sum: (Kz, Ky, Kx).

    Windows are symmetric about their centre, so there are no sines.
    """
    spectrum = np.ones(design.box) if design.ball is None else design.ball
    for axis in range(3):
        waves = design.axis_matrix(axis)[:, : design.harmonics[axis]]
        spectrum = np.moveaxis(np.tensordot(waves, spectrum, axes=(0, axis)), 0, axis)
    return torch.from_numpy((spectrum / spectrum[0, 0, 0]).astype(np.float32))


def _take_out(spectra: torch.Tensor, pedestal: torch.Tensor) -> None:
    """Subtract from every box the window scaled to the box's own sum, in place."""
    cosines = spectra[:, : pedestal.shape[0], : pedestal.shape[1], : pedestal.shape[2]]
    total = cosines[:, :1, :1, :1].clone()
    cosines.addcmul_(total, pedestal, value=-1)


def shell_sums(first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum products over shells: (m, 2 Kz, 2 Ky, 2 Kx) twice to (m, shells)."""
    kz, ky, kx = (n // 2 for n in first.shape[1:])
    product = first[:, :kz] * second[:, :kz]
    product.addcmul_(first[:, kz:], second[:, kz:])
    product = product[:, :, :ky] + product[:, :, ky:]
    product = product[..., :kx] + product[..., kx:]
    return product.reshape(len(first), -1) @ weights
