"""LocalDeblur's blurring operator as a few filters and a few weight fields, and its iterations.

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
import torch

from distres.kernels.fourier import irfftn, radial_frequency, rfftn

Float64 = npt.NDArray[np.float64]

BAND_STEP_ANGSTROM = 0.2
_RADIAL_SAMPLES = 8192
_RANK_TOLERANCE = 1e-6  # of the largest gain
_LOOKED_UP = 1 << 16
_GAUSSIAN_TOLERANCE = 1e-5  # of the largest gain: far below any noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Raised-cosine bands around 1 / resolution.

    Attributes
    ----------
    centre_per_angstrom
        (bands,) centres 1 / R_i.
    below_per_angstrom, above_per_angstrom
        (bands,) distance from the centre to where the band ends, on either side.
    """

    centre_per_angstrom: Float64
    below_per_angstrom: Float64
    above_per_angstrom: Float64

    @property
    def resolution_angstrom(self) -> Float64:
        """Return (bands,) R_i."""
        return 1 / self.centre_per_angstrom

    def gain(self, frequency_per_angstrom: Float64) -> Float64:
        """Return every band's gain: (bands, ...) for frequencies (...)."""
        extra = (...,) + (None,) * frequency_per_angstrom.ndim
        offset = frequency_per_angstrom - self.centre_per_angstrom[extra]
        width = np.where(offset < 0, self.below_per_angstrom[extra], self.above_per_angstrom[extra])
        a = np.minimum(np.abs(offset) / width, 1.0)
        return np.asarray(0.5 * (1 + np.cos(np.pi * a)))


def released_bands(edge_vox: int, voxel_size_angstrom: float, lowest_angstrom: float) -> Bands:
    """Return the bands of the released program: every 0.2 angstrom, one for each Fourier shell.

    The half-width is the distance to the next finer band, which is narrower than a shell beyond
    about 13 angstrom in common boxes: those bands hold next to nothing.
    """
    kept: list[tuple[float, float]] = []
    last_shell = -1
    steps = int(
        np.ceil((lowest_angstrom + 2 - 2 * voxel_size_angstrom) / BAND_STEP_ANGSTROM - 1e-6)
    )
    for step in range(steps):
        resolution = 2 * voxel_size_angstrom + step * BAND_STEP_ANGSTROM
        shell = int(np.floor(edge_vox * voxel_size_angstrom / resolution + 0.5))
        if shell != last_shell:
            width = 1 / (resolution - BAND_STEP_ANGSTROM) - 1 / resolution
            kept.append((1 / resolution, width))
        last_shell = shell
    centre, width_both = np.array(kept).T
    return Bands(
        centre_per_angstrom=centre, below_per_angstrom=width_both, above_per_angstrom=width_both
    )


def covering_bands(
    highest_angstrom: float, lowest_angstrom: float, narrowest_per_angstrom: float
) -> Bands:
    """Return bands of the paper's spacing that are never narrower than `narrowest_per_angstrom`.

    Each band ends at the centres of its neighbours, so that all gains add up to 1 between the
    ends: every frequency there has support, which the released bank does not give at low
    resolution, and kernels stay short. The spacing at a frequency f is the root of the sum of
    squares of ``0.2 angstrom * f^2`` (the paper's) and of the narrowest.

    Parameters
    ----------
    highest_angstrom, lowest_angstrom
        Ends of the bank.
    narrowest_per_angstrom
        A band this wide has a kernel of about its inverse; a Fourier shell of the box at least.
    """

    def spacing(frequency: float) -> float:
        return float(np.hypot(BAND_STEP_ANGSTROM * frequency**2, narrowest_per_angstrom))

    centre = 1 / highest_angstrom
    centres = [centre]
    while centre - spacing(centre) > 0.5 * narrowest_per_angstrom and centre > 1 / lowest_angstrom:
        centre -= spacing(centre)
        centres.append(centre)
    found = np.array(centres)
    gaps = found[:-1] - found[1:]
    return Bands(
        centre_per_angstrom=found,
        # Frequency 0 has no resolution: the last band ends there at the latest.
        below_per_angstrom=np.append(gaps, min(found[-1], spacing(float(found[-1])))),
        above_per_angstrom=np.append(max(spacing(centres[0]), 2 * narrowest_per_angstrom), gaps),
    )


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


def make_bank(
    bands: Bands,
    *,
    k_per_square_angstrom: float,
    highest_angstrom: float,
    lowest_angstrom: float,
    top_per_angstrom: float,
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
    """
    resolutions = np.linspace(highest_angstrom, max(lowest_angstrom, highest_angstrom + 0.1), 2049)
    distance = resolutions[:, None] - bands.resolution_angstrom[None, :]
    weights = np.exp(-k_per_square_angstrom * distance**2)
    weights /= weights.sum(axis=1, keepdims=True)
    left, singular, right = np.linalg.svd(weights, full_matrices=False)
    rank = max(1, int((singular > singular[0] * _RANK_TOLERANCE).sum()))
    radii = np.linspace(0, top_per_angstrom, _RADIAL_SAMPLES)
    mix = np.sqrt(singular[:rank])
    return Bank(
        resolutions_angstrom=resolutions,
        fields=(left[:, :rank] * mix).T,
        radii_per_angstrom=radii,
        filters=(mix[:, None] * right[:rank]) @ bands.gain(radii),
    )


def make_gaussian_bank(
    *,
    amplitude: float,
    highest_angstrom: float,
    lowest_angstrom: float,
    top_per_angstrom: float,
    damping: float | None = None,
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
    """
    lowest = max(lowest_angstrom, highest_angstrom + 0.1)
    resolutions = np.linspace(highest_angstrom, lowest, 513)
    radii = np.linspace(0, top_per_angstrom, 1025)
    table = amplitude ** ((resolutions[:, None] * radii) ** 2)
    if damping is not None:
        table = table / (table**2 + damping)
    left, singular, right = np.linalg.svd(table, full_matrices=False)
    rank = max(1, int((singular > singular[0] * _GAUSSIAN_TOLERANCE).sum()))
    mix = np.sqrt(singular[:rank])
    return Bank(
        resolutions_angstrom=resolutions,
        fields=(left[:, :rank] * mix).T,
        radii_per_angstrom=radii,
        filters=mix[:, None] * right[:rank],
    )


class LocalBlur:
    """H for one block: ``forward`` blurs by the local resolution, ``adjoint`` is its transpose.

    Parameters
    ----------
    bank
        The low-rank operator.
    resolution
        (z, y, x) float32 local resolution in angstrom.
    inside
        (z, y, x) bool; H gives 0 outside.
    voxel_size_angstrom
        Voxel edges (z, y, x).
    """

    def __init__(
        self,
        bank: Bank,
        resolution: torch.Tensor,
        inside: torch.Tensor,
        voxel_size_angstrom: tuple[float, float, float],
    ) -> None:
        device = resolution.device
        self.shape = tuple(resolution.shape)
        self._filters = _radial_filters(bank, self.shape, voxel_size_angstrom, device)
        self._fields = _fields_of(bank, resolution, inside)

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Return H v for v of shape (z, y, x)."""
        spectrum = rfftn(block)
        total = torch.zeros_like(block)
        for gain, field in zip(self._filters, self._fields, strict=True):
            total.addcmul_(irfftn(spectrum * gain, self.shape), field)
        return total

    def adjoint(self, block: torch.Tensor) -> torch.Tensor:
        """Return H' v: weight first, filter second (the filters are even, so self-adjoint)."""
        total: torch.Tensor | None = None
        for gain, field in zip(self._filters, self._fields, strict=True):
            spectrum = rfftn(block * field) * gain
            total = spectrum if total is None else total.add_(spectrum)
        if total is None:
            raise RuntimeError("a bank always holds one filter")
        return irfftn(total, self.shape)


def _radial_filters(
    bank: Bank,
    shape: tuple[int, ...],
    voxel_size_angstrom: tuple[float, float, float],
    device: torch.device,
) -> list[torch.Tensor]:
    """Return the filters on the half spectrum: interpolated on one octant, mirrored to the rest."""
    nz, ny, _ = shape
    radius = radial_frequency(shape, voxel_size_angstrom, device=device)
    octant = radius[: nz // 2 + 1, : ny // 2 + 1].contiguous()
    z, y = (
        torch.minimum(torch.arange(n, device=device), n - torch.arange(n, device=device))
        for n in (nz, ny)
    )
    parts = _interpolate(octant, bank.radii_per_angstrom, bank.filters)
    return [part.index_select(0, z).index_select(1, y) for part in parts]


def _fields_of(bank: Bank, resolution: torch.Tensor, inside: torch.Tensor) -> list[torch.Tensor]:
    """Return the weights at every voxel, 0 outside.

    They are looked up in tables so fine that no interpolation is needed: half a step of a range of
    20 angstrom is 1.5e-4 angstrom, and weights change by less than a tenth of themselves in one.
    """
    grid = bank.resolutions_angstrom
    fine = np.linspace(grid[0], grid[-1], _LOOKED_UP)
    step = (grid[-1] - grid[0]) / (_LOOKED_UP - 1)
    place = ((resolution - float(grid[0])) / float(step)).round_().clamp_(0, _LOOKED_UP - 1)
    # The last entry is what voxels outside look up.
    index = place.masked_fill_(~inside, _LOOKED_UP).to(torch.int32).view(-1)
    fields = []
    for field in bank.fields:
        values = np.append(np.interp(fine, grid, field), 0.0).astype(np.float32)
        table = torch.from_numpy(values).to(resolution.device)
        fields.append(table.index_select(0, index).view(resolution.shape))
    return fields


def _interpolate(at: torch.Tensor, grid: Float64, tables: Float64) -> list[torch.Tensor]:
    """Interpolate tables on an even grid linearly, clamped at the ends: one tensor a table."""
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    place = ((at - float(grid[0])) / float(step)).clamp_(0, len(grid) - 1)
    below = place.floor().clamp_(max=len(grid) - 2)
    weight = place - below
    index = below.to(torch.int64)
    found = []
    for table in tables:
        values = torch.from_numpy(table.astype(np.float32)).to(at.device)
        low = values[index]
        found.append(low + weight * (values[index + 1] - low))
    return found


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
