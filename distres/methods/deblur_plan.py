"""What decides the answer of LocalDeblur: parameters, bands, settings of its tiles, halo.

Bands and halo. A tile must hold the kernels of H. A raised cosine of half-width w has a kernel
of about 1 / w, so that bands are made no narrower than `NARROWEST_VOX` allows, whatever the
resolution: at low resolution that is wider than the paper's 0.2 angstrom, and it is also what
gives every frequency support there. The halo is then the distance beyond which a kernel's tail is
1 % of it (`distres.kernels.deblur_bank.reach_angstrom`); a residual is multiplied by lambda H',
which changes the map by a tenth of its norm at first and less later, so that cutting there changes
each iteration by less than 0.1 x (1 % + 1 %) = 0.2 % of the map.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, hypot, inf, sqrt
from typing import Any

from distres.engine.jobs import Source
from distres.engine.tiles import Shape3
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.deblur_bands import Bands, covering_bands, released_bands
from distres.kernels.deblur_bank import reach_angstrom
from distres.methods.deblur_tiles import bank_of

MODELS = ("paper", "blur", "xmipp")
K_FINE, K_COARSE, COARSE_ANGSTROM = 0.025, 0.01, 6.0
NARROWEST_VOX = 25.0
HALO_TAIL = 0.01
# exp(-K R^2) of bands this far beyond the coarsest resolution is below 1 %.
BEYOND = 4.6
SNR_AT_RESOLUTION = 2 * 0.143 / (1 - 0.143)
# What `blur` leaves of amplitudes at the local resolution.
AMPLITUDE = 0.1
# Kernels of `blur` reach 2.3 times the resolution: coarser voxels count as this coarse.
COARSEST_VOX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeblurParameters:
    """What decides the answer of LocalDeblur.

    Attributes
    ----------
    model
        ``paper``; or ``blur``: H is a Gaussian low-pass that leaves `amplitude` at the local
        resolution, and iterations begin at the Wiener filter of each voxel's own resolution; or
        ``xmipp``: the iteration of Xmipp's program, with its bands, without SNR term, a step of
        1/12, H in the place of its transpose, and a floor.
    k_per_square_angstrom
        K of the weights; None takes 0.025, or 0.01 where the median resolution is worse than 6
        angstrom (the paper's advice; not for ``xmipp``).
    iterations
        At most so many.
    change
        Stop when an iteration changes the map by less than this part.
    snr
        Signal-to-noise ratio; None measures it inside and outside the mask. ``blur`` has another
        one: at the local resolution, where None takes that of an FSC of 0.143, 1/3.
    amplitude
        Of ``blur``.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    model: str = "paper"
    k_per_square_angstrom: float | None = None
    iterations: int = 50
    change: float = 0.01
    snr: float | None = None
    amplitude: float = AMPLITUDE
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"model '{self.model}' is unknown; use {' or '.join(MODELS)}")
        k = self.k_per_square_angstrom
        if k is not None and not 0 < k <= 10:
            raise UsageError(f"K must lie between 0 and 10, not {k:g}; the paper uses 0.01 to 0.05")
        if self.iterations < 1:
            raise UsageError(f"{self.iterations} iterations change nothing; use 1 or more")
        if not 0 <= self.change < 1:
            raise UsageError(f"the change that stops lies between 0 and 1, not {self.change:g}")
        if not 0.001 <= self.amplitude <= 0.9:
            raise UsageError(
                f"the amplitude left at the local resolution lies between 0.001 and 0.9, not "
                f"{self.amplitude:g}"
            )
        if self.snr is not None and not self.snr > 0:
            raise UsageError(f"the signal-to-noise ratio must be positive, not {self.snr:g}")

    def damping(self, measured_snr: float) -> float:
        """Return 1 / SNR: of the whole map, or of ``blur`` at frequency 0."""
        if self.model == "xmipp":
            return 0.0
        if self.model == "blur":
            return self.amplitude**2 / (self.snr or SNR_AT_RESOLUTION)
        return 1 / (self.snr or measured_snr)

    def k(self, median_angstrom: float) -> float:
        """Return K for a map of this median resolution."""
        if self.k_per_square_angstrom is not None:
            return self.k_per_square_angstrom
        coarse = self.model != "xmipp" and median_angstrom > COARSE_ANGSTROM
        return K_COARSE if coarse else K_FINE


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionField:
    """A resolution map that was read, and what was counted with it.

    Attributes
    ----------
    source
        (z, y, x) angstrom, NaN beyond the reach of its extension.
    finest_angstrom, coarsest_angstrom, median_angstrom
        Of defined voxels inside the mask.
    sharp_angstrom
        What 5 % of them are finer than: lines through Guinier plots end there.
    signal_variance, noise_variance
        Of the map inside and outside the mask; the latter 0 without an outside.
    empty_deviation
        Standard deviation of the map where no resolution is given; 0 without such voxels.
    """

    source: Source
    finest_angstrom: float
    coarsest_angstrom: float
    median_angstrom: float
    sharp_angstrom: float
    signal_variance: float
    noise_variance: float
    empty_deviation: float

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio of the paper; infinite without noise outside the mask."""
        return self.signal_variance / self.noise_variance if self.noise_variance > 0 else inf


def coarsest_angstrom_of(parameters: DeblurParameters, grid: Grid) -> float | None:
    """Return what coarser resolutions are taken as; None where they are kept."""
    return COARSEST_VOX * max(grid.voxel_size_angstrom) if parameters.model == "blur" else None


def choose_bands(grid: Grid, field: ResolutionField, parameters: DeblurParameters) -> Bands:
    """Return the filter bank for a grid and the resolutions that occur."""
    voxel = max(grid.voxel_size_angstrom)
    if parameters.model == "xmipp":
        # The released program counts shells along x.
        return released_bands(
            grid.shape[2], grid.voxel_size_angstrom[2], max(field.coarsest_angstrom, 2 * voxel + 1)
        )
    k = parameters.k(field.median_angstrom)
    beyond = field.coarsest_angstrom + sqrt(BEYOND / k)
    return covering_bands(field.finest_angstrom, beyond, 1 / (NARROWEST_VOX * voxel))


def choose_settings(
    grid: Grid, field: ResolutionField, parameters: DeblurParameters
) -> dict[str, Any]:
    """Return the parameters that all tile functions share, but for the halo."""
    blur = parameters.model == "blur"
    bands = {} if blur else asdict(choose_bands(grid, field, parameters))
    return {
        "bands": {name: list(map(float, values)) for name, values in bands.items()},
        "k_per_square_angstrom": parameters.k(field.median_angstrom),
        "amplitude": parameters.amplitude if blur else None,
        "damping": parameters.damping(field.snr),
        "top_per_angstrom": _top(grid),
        "voxel_size_angstrom": list(grid.voxel_size_angstrom),
        "fallback_angstrom": None if parameters.model == "xmipp" else field.coarsest_angstrom,
        "device": parameters.device,
    }


def choose_halo(grid: Grid, field: ResolutionField, settings: Mapping[str, Any]) -> Shape3:
    """Return the voxels of halo that hold the kernels of H, and of the filter `blur` begins with.

    Parameters
    ----------
    settings
        What `bank_of` needs.
    """
    ends = field.finest_angstrom, field.coarsest_angstrom
    wieners = (False,) if settings["amplitude"] is None else (False, True)
    reach = max(reach_angstrom(bank_of(settings, *ends, wiener=w), tail=HALO_TAIL) for w in wieners)
    z, y, x = (ceil(reach / size) for size in grid.voxel_size_angstrom)
    return z, y, x


def _top(grid: Grid) -> float:
    """Return the highest frequency that the grid holds, in its corners."""
    z, y, x = (0.5 / size for size in grid.voxel_size_angstrom)
    return hypot(z, y, x)
