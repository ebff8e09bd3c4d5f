"""Where a correlation curve crosses a threshold for good.

Two steps, each on all curves at once.

First the *sustained* crossing. Going up in frequency, sum the excess of the curve over the
threshold; the crossing is where the sum is largest, and the search ends once the sum has fallen
from there by what half an octave of zero correlation would cost. So one noisy band below the
threshold does not end a curve that goes on above it (a zero of a contrast transfer function, say),
and one lucky band far out does not revive a dead one. A curve whose excess stays below what a
tenth of an octave would cost was never above. This is the crossing of the best decreasing
step function (isotonic regression), found going forward.

Second, the neighbourhood of that crossing is fitted, because a single band's correlation is known
no better than the threshold itself at 0.143. Locally the logarithm of the signal-to-noise ratio
``C / (1 - C)`` is taken as linear in k^2 (a Wilson decay whose B-factor is free at every voxel) and
fitted by weighted least squares on C itself, with the variance (1 - C^2)^2 of a correlation (and a
floor, for correlations near one are limited by other things than statistics). Bands count less the
farther they are from the crossing. The decay inside each band is part of the model
(`bands.effective_squares`), so steep spectra are not read too fine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distres.kernels.bands import STEEPEST, TABLE_STEPS, Band, effective_squares, mean_square

# Reach of the fit on either side of the crossing, in log frequency: one octave.
FIT_REACH = 0.7
# Wilson decays are then found to 0.7 %.
FIT_ROUNDS = 8
# As many bands as lie within reach.
FIT_BANDS = 10
# Deviation of a correlation near one, which statistics alone would let vanish, in units of that of
# a correlation near zero.
SYSTEMATIC = 0.05
# Octaves of zero correlation that end the search.
SUSTAIN_OCTAVES = 0.5
# And that the excess must outweigh for a curve to have been above at all: noise that passes the
# threshold by chance does so by little and not for long.
ESTABLISH_OCTAVES = 0.1
_STEEPNESS_LIMITS = (0.5, 60.0)
_LOGIT_LIMIT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveModel:
    """What the fit needs to know of the bands, as tensors.

    Attributes
    ----------
    squares
        (bands,) mean squared frequency of each band.
    tables
        (bands, steps + 1) effective over mean squared frequency, by steepness.
    nyquist
        Highest frequency.
    """

    squares: torch.Tensor
    tables: torch.Tensor
    nyquist: float

    @classmethod
    def of(cls, bands: Sequence[Band], device: torch.device | str = "cpu") -> "CurveModel":
        """Gather the tables of bands from low to high frequency."""
        squares = torch.tensor([mean_square(b) for b in bands], dtype=torch.float32)
        tables = torch.tensor([effective_squares(b) for b in bands], dtype=torch.float32)
        return cls(squares=squares.to(device), tables=tables.to(device), nyquist=bands[0].nyquist)


def find_crossings(
    curves: torch.Tensor, model: CurveModel, levels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the sustained crossing of every curve.

    Parameters
    ----------
    curves
        (bands, n) float32 correlations, low to high frequency.
    model
        The bands.
    levels
        (bands, n) or (bands, 1) threshold at each band.

    Returns
    -------
    frequency
        (n,) float32 in 1/length: NaN for curves that are never above, Nyquist for curves whose
        fit does not cross before.
    level
        (n,) float32 threshold in force at the crossing.
    """
    frequency, place = sustained_crossing(curves, model, levels)
    found = torch.isfinite(frequency)
    at = levels.expand_as(curves).gather(0, place[None])[0]
    if bool(found.any()):
        index = torch.nonzero(found).view(-1)
        refined = fit_crossing(
            curves.index_select(1, index), model, frequency[index], place[index], at[index]
        )
        frequency[index] = refined.clamp_(max=model.nyquist)
    return frequency, at


def sustained_crossing(
    curves: torch.Tensor, model: CurveModel, level: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find where the summed excess over the threshold is largest, before it has fallen for good.

    Returns
    -------
    frequency
        (n,) float32: NaN for curves never above, the last band's for curves above to the end.
    place
        (n,) int64, the last band below that frequency.
    """
    octaves = 0.5 * torch.log2(model.squares)
    count = curves.shape[1]
    summed = curves.new_zeros(count)
    best = curves.new_zeros(count)
    where = curves.new_full((count,), float("nan"))
    place = torch.zeros(count, dtype=torch.int64, device=curves.device)
    over = torch.zeros(count, dtype=torch.bool, device=curves.device)
    last = curves[0] - level[0]
    for j in range(1, len(curves)):
        step = float(octaves[j] - octaves[j - 1])
        now = curves[j] - level[j]
        down = (last > 0) & (now <= 0)
        part = torch.where(down, last / (last - now).clamp_(min=1e-9), 1.0)
        peak = summed + step / 2 * torch.where(down, last * part, last + now)
        summed = summed + step / 2 * (last + now)
        better = (down | (now > 0)) & (peak > best) & ~over
        where = torch.where(better, float(octaves[j - 1]) + step * part, where)
        place.masked_fill_(better, j - 1)
        best = torch.where(better, peak, best)
        over |= best - summed > SUSTAIN_OCTAVES * level[j]
        last = now
    where = torch.where(best < ESTABLISH_OCTAVES * level[0], torch.nan, where)
    return torch.exp2(where), place


def fit_crossing(
    curves: torch.Tensor,
    model: CurveModel,
    frequency: torch.Tensor,
    place: torch.Tensor,
    level: torch.Tensor,
) -> torch.Tensor:
    """Fit a Wilson decay around crossings and return where the fit crosses.

    Parameters
    ----------
    curves
        (bands, n) float32.
    frequency, place
        (n,) from `sustained_crossing`.
    level
        (n,) thresholds.

    Returns
    -------
    (n,) float32, within one `FIT_REACH` of `frequency`.
    """
    bands = len(curves)
    width = min(bands, FIT_BANDS)
    first = (place - width // 2 + 1).clamp_(0, bands - width)
    rows = first[None, :] + torch.arange(width, device=curves.device)[:, None]
    c = curves.gather(0, rows)
    squares = model.squares[rows]
    goal = torch.log(level / (1 - level))
    start = torch.log(frequency)
    now = start.clone()
    intercept = goal.clone()
    slope = torch.full_like(now, -5.0)
    for _ in range(FIT_ROUNDS):
        square = torch.exp(2 * now)
        # Effective squared frequencies of the bands for the present steepness.
        effective = _effective(model, rows, squares, -slope / square)
        x = effective / square - 1
        distance = (0.5 * torch.log(effective) - now) / FIT_REACH
        near = (1 - distance.square()).clamp_(min=0).square_()
        intercept, slope = _reweighted_line(c, x, near, intercept, slope)
        moved = (1 + (goal - intercept) / slope).clamp_(0.5, 2.0)
        now = torch.minimum(
            torch.maximum(now + 0.5 * torch.log(moved), start - FIT_REACH), start + FIT_REACH
        )
    return torch.exp(now)


def _effective(
    model: CurveModel, rows: torch.Tensor, squares: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    steepness = (beta[None, :] * squares).clamp_(0, STEEPEST * (1 - 1e-6))
    steepness *= TABLE_STEPS / STEEPEST
    lower = steepness.to(torch.int64)
    part = steepness - lower
    flat = model.tables.view(-1)
    lower += rows * (TABLE_STEPS + 1)
    low = flat[lower]
    return squares * (low + part * (flat[lower + 1] - low))


def _reweighted_line(
    c: torch.Tensor,
    x: torch.Tensor,
    near: torch.Tensor,
    intercept: torch.Tensor,
    slope: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One round of iteratively reweighted least squares for logit(C) = intercept + slope x."""
    eta = (intercept + slope * x).clamp_(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    mu = torch.sigmoid(eta)
    turn = mu * (1 - mu)
    weight = near * turn.square() / ((1 - mu * mu).square_() + SYSTEMATIC**2)
    z = eta + (c - mu) / turn
    wx = weight * x
    s0, s1, s2 = weight.sum(0), wx.sum(0), (wx * x).sum(0)
    t0, t1 = (weight * z).sum(0), (wx * z).sum(0)
    det = s0 * s2 - s1 * s1
    gentle, steep = _STEEPNESS_LIMITS
    slope = ((s0 * t1 - s1 * t0) / det.clamp_(min=1e-12)).clamp_(-steep, -gentle)
    return (t0 - slope * s1) / s0.clamp_(min=1e-12), slope
