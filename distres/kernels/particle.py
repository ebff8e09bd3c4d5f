"""Find the particle in a volume that fits into memory: noise level, threshold, components."""

from dataclasses import dataclass
from math import pi, prod

import numpy as np
import numpy.typing as npt

from distres.errors import InputError
from distres.kernels.masks import (
    Bools,
    Components,
    Float3,
    Floats,
    fill_holes,
    flat_region,
    gaussian_low_pass,
    large_components,
    one_sided_sigma,
    robust_sigma,
    sample,
    shortest_quarter,
    significance_factor,
)

# More of the box than this at one value: the map was masked before it came here.
_PREMASKED_FRACTION = 0.1
# Halves that correlate more than this hold signal, not chance: white noise of even a few hundred
# independent voxels stays below.
_SIGNAL_CORRELATION = 0.3
# A find smaller than this in a box whose rest correlates is a gold bead, not the particle.
_TOO_LITTLE = 1e-3
# Where a masked map shows no noise at all, the blur's tail still has to be cut somewhere.
_PEAK_FRACTION = 0.05
# Dark density must outweigh bright density this much before the map counts as inverted: a
# particle's negative halo is always weaker than the particle.
_INVERTED_RATIO = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a particle is told from solvent.

    Attributes
    ----------
    resolution_angstrom
        Low-pass before anything is compared; the smallest region kept is a ball of this diameter.
    false_positive_level
        Probability that noise alone passes the threshold anywhere in the box (Bonferroni).
    density_fraction
        The threshold also reaches this fraction of the particle's median density, which places
        the surface where density ends and not where the blur's tail sinks into the noise.
    component_fraction
        Smallest region kept, as a fraction of the largest.
    fill_holes
        Whether closed hollows belong to the mask.
    """

    resolution_angstrom: float
    false_positive_level: float = 0.01
    density_fraction: float = 0.3
    component_fraction: float = 0.1
    fill_holes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where the particle lies.

    Attributes
    ----------
    field
        (z, y, x) float32, positive inside the particle; its zero surface is the boundary and may
        be interpolated.
    kind
        ``particle``; ``existing`` when nothing but an earlier mask's outline could be found;
        ``everything`` when signal fills the box.
    statistics
        Numbers that tell how it was found, in the units of the map where they are densities.
    warnings
        What a reader must know, one sentence each.
    """

    field: Floats
    kind: str
    statistics: dict[str, float | int | bool | None]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Levels:
    """Low-passed volume with its solvent level, noise and threshold."""

    low: Floats
    solvent: float
    solvent_sigma: float
    half_sigma: float | None
    factor: float
    sign: int
    threshold: float
    peak: float

    @property
    def sigma(self) -> float:
        return max(self.solvent_sigma, self.half_sigma or 0.0)


def find_particle(
    mean: Floats, half_difference: Floats | None, voxel_size_angstrom: Float3, search: Search
) -> Found:
    """Find the particle in the mean of two half maps, or in a single map.

    The volume is low-passed. Solvent level and spread come from the densest quarter of its
    values, which no particle moves; with halves, the noise of the mean is also measured as the
    spread of the low-passed half difference, and the larger of the two counts. In a map that was
    masked before, the blank value is the solvent and the spread is taken on its quiet side.
    Voxels are significant above `significance_factor` sigma and 5 % of the peak; the threshold is
    that bound or, when larger, a fraction of the median density of the significant voxels.

    Parameters
    ----------
    mean
        (z, y, x) float32, (half 1 + half 2) / 2 or the map.
    half_difference
        (z, y, x) float32, (half 1 - half 2) / 2; None for a single map.
    voxel_size_angstrom
        (z, y, x).
    search
        What counts as particle.

    Raises
    ------
    InputError
        The volume is constant or not finite, or nothing in it stands out from noise.
    """
    if not np.isfinite(mean).all():
        raise InputError("the map holds values that are not finite; repair it, or give a mask")
    if float(mean.min()) == float(mean.max()):
        raise InputError(
            f"the map is constant ({float(mean.flat[0]):g} everywhere); no mask can be made from it"
        )
    background, _ = shortest_quarter(mean)
    flat = flat_region(mean, background)
    premasked = float(flat.mean()) > _PREMASKED_FRACTION
    inside = ~flat if premasked else np.ones(mean.shape, dtype=bool)
    resolution = search.resolution_angstrom
    low = gaussian_low_pass(mean, voxel_size_angstrom, resolution, outside=background)
    noise = (
        None
        if half_difference is None
        else gaussian_low_pass(half_difference, voxel_size_angstrom, resolution)
    )
    levels = _levels(low, noise, inside, background if premasked else None, search)
    ball_vox = pi / 6 * search.resolution_angstrom**3 / prod(voxel_size_angstrom)
    components = large_components(
        (levels.sign * (levels.low - levels.threshold) > 0) & inside,
        fraction=search.component_fraction,
        smallest_vox=ball_vox,
    )
    correlation = None if noise is None else _correlation(low, noise, inside & ~components.kept)
    kind = _kind(components, levels, correlation, premasked)
    statistics = _statistics(levels, components, flat, correlation)
    return Found(
        field=_field(kind, levels, components, flat, search),
        kind=kind,
        statistics=statistics,
        warnings=_warnings(kind, levels, flat, premasked),
    )


def _levels(
    low: Floats, noise: Floats | None, inside: Bools, blank: float | None, search: Search
) -> _Levels:
    """Set the threshold from low-passed volumes; `blank` is the value of an earlier mask."""
    if blank is None:
        solvent, solvent_sigma = shortest_quarter(low)
    else:
        # What is left inside a tight mask is mostly particle: its densest quarter says nothing.
        solvent, solvent_sigma = blank, one_sided_sigma(low[inside], blank)
    half_sigma = None if noise is None else robust_sigma(noise[inside])
    factor = significance_factor(low.size, search.false_positive_level)
    excess = low - np.float32(solvent)
    bound = max(
        factor * max(solvent_sigma, half_sigma or 0.0),
        _PEAK_FRACTION * float(np.abs(excess).max()),
    )
    bright, dark = excess[excess > bound], -excess[excess < -bound]
    inverted = float(dark.sum(dtype=np.float64)) > _INVERTED_RATIO * float(
        bright.sum(dtype=np.float64)
    )
    significant = dark if inverted else bright
    sign = -1 if inverted else 1
    body = float(np.median(sample(significant))) if significant.size else 0.0
    height = max(bound, search.density_fraction * body)
    return _Levels(
        low=low,
        solvent=solvent,
        solvent_sigma=solvent_sigma,
        half_sigma=half_sigma,
        factor=factor,
        sign=sign,
        threshold=solvent + sign * height,
        peak=float((sign * excess).max()),
    )


def _correlation(low: Floats, noise: Floats, where: Bools) -> float:
    """Correlate the low-passed halves at `where`, from their mean and half difference.

    Powers are taken by median absolute deviations: a few bright places do not count, signal
    everywhere does.
    """
    if np.count_nonzero(where) < 2:
        return 0.0
    common, own = robust_sigma(low[where]) ** 2, robust_sigma(noise[where]) ** 2
    return (common - own) / (common + own) if common + own > 0 else 0.0


def _kind(
    components: Components, levels: _Levels, correlation: float | None, premasked: bool
) -> str:
    found = int(np.count_nonzero(components.kept))
    signal_elsewhere = correlation is not None and correlation > _SIGNAL_CORRELATION
    if found and not (signal_elsewhere and found < _TOO_LITTLE * components.kept.size):
        return "particle"
    if premasked and (signal_elsewhere or correlation is None):
        return "existing"
    if signal_elsewhere:
        return "everything"
    peak = levels.peak / levels.sigma if levels.sigma else 0.0
    raise InputError(
        "no particle found: after the low-pass nothing large enough stands out from the noise "
        f"(highest density {peak:.1f} sigma, {levels.factor:.1f} needed); check that these are the "
        "right maps, or give a mask with --mask"
    )


def _field(
    kind: str, levels: _Levels, components: Components, flat: Bools, search: Search
) -> Floats:
    if kind == "everything":
        return np.ones(flat.shape, dtype=np.float32)
    if kind == "existing":
        return np.where(flat, np.float32(-0.5), np.float32(0.5))
    values = (levels.sign * (levels.low - np.float32(levels.threshold))).astype(np.float32)
    # What was dropped is mirrored below zero, so that no interpolation brings it back.
    values = np.where(components.kept, values, -np.abs(values))
    if search.fill_holes:
        hollow = fill_holes(components.kept) & ~components.kept
        values = np.where(hollow, np.abs(values) + np.float32(1e-30), values)
    return np.asarray(values, dtype=np.float32)


def _statistics(
    levels: _Levels, components: Components, flat: npt.NDArray[np.bool_], correlation: float | None
) -> dict[str, float | int | bool | None]:
    return {
        "threshold": levels.threshold,
        "threshold_sigma": abs(levels.threshold - levels.solvent) / levels.sigma
        if levels.sigma
        else None,
        "significance_sigma": levels.factor,
        "solvent_level": levels.solvent,
        "solvent_sigma": levels.solvent_sigma,
        "half_difference_sigma": levels.half_sigma,
        "peak_sigma": levels.peak / levels.sigma if levels.sigma else None,
        "inverted": levels.sign < 0,
        "flat_fraction": float(flat.mean()),
        "components_kept": components.kept_count,
        "components_removed": components.removed_count,
        "correlation_outside": correlation,
    }


def _warnings(kind: str, levels: _Levels, flat: Bools, premasked: bool) -> tuple[str, ...]:
    found = []
    if premasked:
        found.append(
            f"the map was masked before ({100 * float(flat.mean()):.0f} % of the box holds one "
            "value): solvent noise is judged from the rest, and halves should be unmasked"
        )
    if kind == "existing":
        found.append(
            "nothing stands out inside the earlier mask, so its outline is used as the mask"
        )
    if kind == "everything":
        found.append(
            "the halves agree all over the box and no particle stands out (a tomogram?): the mask "
            "is the whole box; give a mask to restrict the run"
        )
    if kind == "particle" and levels.sign < 0:
        found.append("density looks inverted (dark on bright): the mask follows the dark density")
    return tuple(found)
