"""One colour ramp for every picture and viewer script, and the limits they share.

Blue is high resolution, yellow is low. Lightness grows all along the ramp, so that it reads the
same for colour-blind eyes and on grey paper.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError

RAMP = (
    "#0b2c7a",
    "#14509b",
    "#1c73ad",
    "#2492ab",
    "#3dad9c",
    "#6fc487",
    "#a9d66f",
    "#d4de4e",
    "#fdea3c",
)
# Inside the mask but without a resolution; a warm grey that no point of the ramp comes near.
UNRESOLVED = "#8d7f78"
# Limits lie on whole multiples of this, so that runs of one project share them.
ROUNDING_ANGSTROM = 0.5


def hex_to_rgb(colour: str) -> tuple[int, int, int]:
    """Split ``#rrggbb`` into red, green and blue, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The resolutions at the two ends of the ramp, in angstrom; values beyond are clipped.

    Raises
    ------
    UsageError
        The limits are not finite or `high_res` is not the smaller number.
    """

    high_res: float
    low_res: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.high_res, self.low_res]).all() and self.high_res < self.low_res):
            raise UsageError(
                f"colour limits must be two resolutions, the finer first, not {self.high_res} and "
                f"{self.low_res} angstrom"
            )

    def pairs(self) -> list[tuple[float, str]]:
        """Return the ramp's resolutions in angstrom with their colours."""
        values = np.linspace(self.high_res, self.low_res, len(RAMP))
        return [(float(value), colour) for value, colour in zip(values, RAMP, strict=True)]

    def ticks(self) -> list[float]:
        """Return about five round resolutions between the limits, both limits included."""
        span = self.low_res - self.high_res
        step = next(s for s in (0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10, 25, 50, 1e9) if span / s <= 6)
        inner = np.arange(ceil(self.high_res / step), floor(self.low_res / step) + 1) * step
        kept = [float(v) for v in inner if min(v - self.high_res, self.low_res - v) > 0.4 * step]
        return [self.high_res, *kept, self.low_res]


def limits_from_percentiles(p2_angstrom: float, p98_angstrom: float) -> Limits:
    """Widen the 2nd and 98th percentile inside the mask to the next half angstrom.

    Parameters
    ----------
    p2_angstrom, p98_angstrom
        Percentiles of the local resolution.
    """
    high_res = floor(p2_angstrom / ROUNDING_ANGSTROM) * ROUNDING_ANGSTROM
    low_res = ceil(p98_angstrom / ROUNDING_ANGSTROM) * ROUNDING_ANGSTROM
    return Limits(high_res=high_res, low_res=max(low_res, high_res + ROUNDING_ANGSTROM))


def colour(resolution_angstrom: npt.NDArray[np.floating], limits: Limits) -> npt.NDArray[np.uint8]:
    """Colour resolutions by the ramp.

    Parameters
    ----------
    resolution_angstrom
        Array of any shape; values that are not finite take `UNRESOLVED`.
    limits
        Ends of the ramp.

    Returns
    -------
    numpy.ndarray
        (..., 3) uint8.
    """
    stops = np.array([hex_to_rgb(stop) for stop in RAMP], dtype=np.float64)
    place = np.linspace(limits.high_res, limits.low_res, len(RAMP))
    known = np.isfinite(resolution_angstrom)
    values = np.where(known, resolution_angstrom, limits.high_res)
    channels = [np.interp(values, place, stops[:, c]) for c in range(3)]
    painted = np.stack(channels, axis=-1)
    painted[~known] = hex_to_rgb(UNRESOLVED)
    return np.rint(painted).astype(np.uint8)
