"""Is a map sharpened too far? DeepRes of the map under B-factors against its halves' resolution.

Ramirez-Aportela et al. 2019 (IUCrJ 6, 1054), 3.4: methods that compare signal with noise do not see
a B-factor; DeepRes does. The B-factor is taken as right under which the 20 % percentiles of both
distributions coincide; a map that DeepRes calls finer than its halves allow is over-sharpened.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError
from distres.kernels.guinier import bin_centres, fit_b_factor
from distres.methods.products import Survey

Float64 = npt.NDArray[np.float64]

PERCENT = 20.0
# DeepRes is not told from the halves' resolution below this part of it.
SAME = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class OversharpParameters:
    """What decides the scan.

    Attributes
    ----------
    b_from, b_to
        Ends of the scan in square angstrom: the factor is ``exp(-B s^2 / 4)``, so that negative
        values sharpen.
    b_step
        Distance of the values tried.
    low_pass_angstrom
        Resolution at which the sharpened spectrum ends: None for the global FSC of the halves at
        0.143, 0 for two voxels.
    snr
        Method for the halves: ``localfsc`` or ``monores``.
    threshold
        FSC threshold of the local FSC.
    percent
        Percentile compared.
    samples
        About how many places of the mask are looked at under each B-factor.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    b_from: float = 100.0
    b_to: float = -200.0
    b_step: float = 25.0
    low_pass_angstrom: float | None = None
    snr: str = "localfsc"
    threshold: float = 0.5
    percent: float = PERCENT
    samples: int = 8000

    def __post_init__(self) -> None:
        if not self.b_step > 0:
            raise UsageError(f"the step of B is positive, not {self.b_step:g} square angstrom")
        if not self.b_to <= 0 <= self.b_from or self.b_to == self.b_from:
            raise UsageError(
                f"the B-factors scanned go from blur (positive) to sharpening (negative) and hold "
                f"0, the map as it is; {self.b_to:g} to {self.b_from:g} do not"
            )
        if self.snr not in ("localfsc", "monores"):
            raise UsageError(f"'{self.snr}' does not compare halves here; use localfsc or monores")
        if not 0 < self.percent < 100:
            raise UsageError(f"a percentile lies between 0 and 100, not at {self.percent:g}")
        if self.samples < 100:
            raise UsageError(f"{self.samples} places are too few for a percentile; use 100 or more")
        if self.low_pass_angstrom is not None and not self.low_pass_angstrom >= 0:
            raise UsageError(
                f"the low-pass is a resolution, or 0 for none, not {self.low_pass_angstrom:g} A"
            )

    @property
    def scan(self) -> tuple[float, ...]:
        """Return the B-factors tried, from blur to sharpening; 0 is one of them."""
        above, below = ceil(self.b_from / self.b_step - 1e-9), ceil(-self.b_to / self.b_step - 1e-9)
        steps = range(-above, below + 1)
        values = (float(np.clip(-i * self.b_step, self.b_to, self.b_from)) for i in steps)
        return tuple(dict.fromkeys(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The B-factor under which both percentiles coincide.

    Attributes
    ----------
    b_square_angstrom
        By linear interpolation between the values tried; an end of the scan when they do not
        coincide in it.
    reached
        Whether they do.
    """

    b_square_angstrom: float
    reached: bool


def choose_b(
    b_square_angstrom: Float64, deepres_angstrom: Float64, halves_angstrom: float
) -> Choice:
    """Find where DeepRes, on the way from blur to sharpening, first is as fine as the halves.

    Parameters
    ----------
    b_square_angstrom
        (n,) falling.
    deepres_angstrom
        (n,) percentiles of DeepRes, NaN where it said nothing.
    halves_angstrom
        Percentile of the halves' local resolution.

    Raises
    ------
    UsageError
        DeepRes said nothing at all.
    """
    known = np.isfinite(deepres_angstrom)
    if not known.any():
        raise UsageError("DeepRes found no density in the mask; check map and mask")
    b, excess = b_square_angstrom[known], deepres_angstrom[known] - halves_angstrom
    if excess[0] <= 0:
        return Choice(b_square_angstrom=float(b[0]), reached=excess[0] == 0)
    finer = np.flatnonzero(excess <= 0)
    if not finer.size:
        return Choice(b_square_angstrom=float(b[-1]), reached=False)
    last = int(finer[0])
    share = excess[last - 1] / (excess[last - 1] - excess[last])
    return Choice(
        b_square_angstrom=float(b[last - 1] + share * (b[last] - b[last - 1])), reached=True
    )


def guinier_b(
    power_map: Float64,
    power_mean: Float64,
    power_difference: Float64,
    nyquist_per_angstrom: float,
    high_angstrom: float,
) -> float | None:
    """Return the B-factor that flattens the map's signal, as a Guinier fit takes it.

    Parameters
    ----------
    power_map, power_mean, power_difference
        (bins,) mean power of the map, of the mean of the halves, and of half their difference: of
        the power of the mean, what exceeds that of the difference is signal, and the map's share
        of signal is the same.
    nyquist_per_angstrom
        Upper end of the bins.
    high_angstrom
        Fine end of the fit; it begins at 10 angstrom.

    Returns
    -------
    B in square angstrom, negative when sharpening flattens the map; None without a fit.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = power_map * (1 - power_difference / power_mean)
        amplitude = np.sqrt(np.where(signal > 0, signal, np.nan))
    frequency = bin_centres(nyquist_per_angstrom, len(amplitude))
    b, _ = fit_b_factor(frequency, amplitude, high_angstrom=high_angstrom)
    return -b if np.isfinite(b) else None


def is_finer(deepres_angstrom: float, halves_angstrom: float) -> bool:
    """Tell whether a map looks finer than its halves are, by more than can be told apart."""
    return deepres_angstrom < (1 - SAME) * halves_angstrom


def verdict(
    *, deepres_angstrom: float, halves_angstrom: float, choice: Choice, guinier: float | None
) -> str:
    """Say in words what was found about the map as it is, and what would be right.

    Parameters
    ----------
    deepres_angstrom
        Percentile of DeepRes of the map as it is.
    halves_angstrom
        Percentile of the halves' local resolution.
    choice
        Where both coincide.
    guinier
        B-factor of the Guinier fit.
    """
    read = (
        f"DeepRes reads {deepres_angstrom:.2f} A where its halves support {halves_angstrom:.2f} A"
    )
    b = choice.b_square_angstrom
    if is_finer(deepres_angstrom, halves_angstrom):
        remedy = (
            f"blur by B = {b:+.0f} square angstrom would bring both together"
            if choice.reached
            else f"even blur by B = {b:+.0f} square angstrom does not bring both together"
        )
        words = f"The map is over-sharpened: {read}; {remedy}."
    elif deepres_angstrom <= (1 + SAME) * halves_angstrom:
        words = f"The map is sharpened as far as its halves support: {read}."
    else:
        remedy = (
            f"sharpening by B = {b:+.0f} square angstrom would bring both together"
            if choice.reached
            else f"even sharpening by B = {b:+.0f} square angstrom does not bring both together"
        )
        words = f"The map is not over-sharpened: {read}; {remedy}."
    if guinier is None:
        return f"{words} No Guinier fit was possible."
    return f"{words} A Guinier fit asks for B = {guinier:+.0f} square angstrom."


def percentiles(counts: npt.NDArray[np.int64], percent: float) -> list[float]:
    """Return a percentile of each row of counts over the bins that all resolution maps share."""
    found = Survey(counts=counts, inside=0, flagged=())
    return [found.percentile(row, percent) for row in range(len(counts))]


def as_table(
    scan: tuple[float, ...], counts: npt.NDArray[np.int64], percent: float
) -> dict[str, list[float]]:
    """Return the curve: one row for each B-factor, percentiles of DeepRes in angstrom."""
    named = {"deepres_angstrom": percent, "p5_angstrom": 5.0, "median_angstrom": 50.0}
    columns: dict[str, Any] = {"b_square_angstrom": list(scan)}
    columns |= {name: percentiles(counts, p) for name, p in named.items()}
    return columns | {"p80_angstrom": percentiles(counts, 80.0)}
