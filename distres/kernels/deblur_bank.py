"""LocalDeblur's blurring operator as tables of a few filters and a few weights.

The published operator (Ramirez-Aportela et al. 2020, section 2.1) weights some fifty band-passed
maps at every voxel by ``w_i = exp(-K (R - R_i)^2) / sum_j exp(-K (R - R_j)^2)``. The weights depend
on the voxel only through its resolution R, and they are smooth in R and in i, so the matrix of
weights (R by i) has a small numerical rank: ``w_i(R) = sum_j field_j(R) mix_ji``. Mixing the bands
before the inverse transform, ``H v = sum_j field_j(R) * IFFT(filter_j FFT v)`` with
``filter_j = sum_i mix_ji band_i``, takes about ten inverse transforms instead of fifty, and as many
for the adjoint.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from distres.kernels.deblur_bands import Bands

Float64 = npt.NDArray[np.float64]

_RADIAL_SAMPLES = 8192
# Singular values below this part of the largest are left out: gains err by less than a thousandth
# of the largest gain, less than the halo cuts off.
RANK_TOLERANCE = 1e-3
_THINNED = 8
_SUPPORT = 1e-6  # of the largest gain: filters end where all that follow are weaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """The operator H in its low-rank form.

    Attributes
    ----------
    resolutions_angstrom
        (samples,) ascending grid of R on which `fields` is tabulated.
    fields
        (rank, samples) weight of each mixed filter at each R.
    radii_per_angstrom
        (radii,) ascending frequencies on which `filters` is tabulated.
    filters
        (rank, radii) gain of each mixed filter.
    """

    resolutions_angstrom: Float64
    fields: Float64
    radii_per_angstrom: Float64
    filters: Float64

    @property
    def rank(self) -> int:
        """Number of inverse transforms that one application of H takes."""
        return len(self.fields)

    @property
    def top_per_angstrom(self) -> float:
        """Frequency beyond which no filter lets anything through."""
        strongest = np.abs(self.filters).max(axis=0)
        last = int(np.flatnonzero(strongest > _SUPPORT * strongest.max())[-1])
        return float(self.radii_per_angstrom[min(last + 1, len(strongest) - 1)])


def make_bank(
    bands: Bands,
    *,
    k_per_square_angstrom: float,
    highest_angstrom: float,
    lowest_angstrom: float,
    top_per_angstrom: float,
    tolerance: float = RANK_TOLERANCE,
) -> Bank:
    """Factor the weights of `bands` over the range of resolutions that occurs.

    Parameters
    ----------
    bands
        The filter bank.
    k_per_square_angstrom
        K of the weights exp(-K (R - R_i)^2).
    highest_angstrom, lowest_angstrom
        Range of R in the resolution map.
    top_per_angstrom
        Highest frequency of the volume, corners included.
    tolerance
        Singular values below this part of the largest are left out.
    """
    resolutions = np.linspace(highest_angstrom, max(lowest_angstrom, highest_angstrom + 0.1), 2049)
    distance = resolutions[:, None] - bands.resolution_angstrom[None, :]
    weights = np.exp(-k_per_square_angstrom * distance**2)
    weights /= weights.sum(axis=1, keepdims=True)
    fields, mixes = _factored(weights, tolerance)
    radii = np.linspace(0, top_per_angstrom, _RADIAL_SAMPLES)
    return Bank(
        resolutions_angstrom=resolutions,
        fields=fields,
        radii_per_angstrom=radii,
        filters=mixes @ bands.gain(radii),
    )


def make_gaussian_bank(
    *,
    amplitude: float,
    highest_angstrom: float,
    lowest_angstrom: float,
    top_per_angstrom: float,
    damping: float | None = None,
    tolerance: float = RANK_TOLERANCE,
) -> Bank:
    """Return a blur in the plain sense: a low-pass that leaves `amplitude` at the local resolution.

    The gain is ``h = amplitude^((R f)^2)``: 1 at frequency 0, a Gaussian whose B-factor,
    ``-4 ln(amplitude) R^2``, grows with the local resolution as that of a map does when its noise
    is the same everywhere.

    Parameters
    ----------
    amplitude
        Gain at the local resolution.
    highest_angstrom, lowest_angstrom, top_per_angstrom
        As in `make_bank`.
    damping
        1 / SNR at frequency 0. Given, the bank is the Wiener filter ``h / (h^2 + damping)``
        instead: the solution where the resolution does not change.
    tolerance
        As in `make_bank`.
    """
    lowest = max(lowest_angstrom, highest_angstrom + 0.1)
    resolutions = np.linspace(highest_angstrom, lowest, 513)
    radii = np.linspace(0, top_per_angstrom, 1025)
    table = amplitude ** ((resolutions[:, None] * radii) ** 2)
    if damping is not None:
        table = table / (table**2 + damping)
    fields, filters = _factored(table, tolerance)
    return Bank(
        resolutions_angstrom=resolutions, fields=fields, radii_per_angstrom=radii, filters=filters
    )


def _factored(table: Float64, tolerance: float) -> tuple[Float64, Float64]:
    """Return (rank, rows) and (rank, columns) whose products add up to a table.

    Rows change slowly: those that span all others are found in every eighth.
    """
    _, singular, right = np.linalg.svd(table[::_THINNED], full_matrices=False)
    basis = right[: max(1, int((singular > singular[0] * tolerance).sum()))]
    mix = np.sqrt(singular[: len(basis)])
    return (table @ basis.T / mix).T, mix[:, None] * basis


def reach_angstrom(bank: Bank, *, tail: float = 1e-2) -> float:
    """Return how far the kernels of a bank reach.

    The gain g(f) at one resolution is isotropic, so its kernel h depends on the distance r alone
    and ``r h(r)`` is the sine transform of ``f g(f)``. The energy of the kernel beyond a distance
    is the integral of ``(r h(r))^2`` from there on.

    Parameters
    ----------
    bank
        The operator.
    tail
        Root of the share of a kernel's energy that may lie beyond: what cutting there changes in
        H v, relative to H v, when v is white.

    Returns
    -------
    The largest reach over nine resolutions of the range, in angstrom.
    """
    radii = bank.radii_per_angstrom
    fine = np.linspace(0, radii[-1], 4 * _RADIAL_SAMPLES + 1)[1:]
    longest = 0
    for sample in np.linspace(0, len(bank.resolutions_angstrom) - 1, 9).astype(int):
        gain = np.interp(fine, radii, bank.fields[:, sample] @ bank.filters)
        energy = scipy.fft.dst(fine * gain, type=2) ** 2
        beyond = energy[::-1].cumsum()[::-1]
        longest = max(longest, int((beyond > tail**2 * beyond[0]).sum()))
    return float(longest / (2 * radii[-1]))
