"""Parameters and result of a global FSC: curves, where they cross, and what to know about them."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from distres.errors import UsageError
from distres.kernels.shell_thresholds import first_crossing, half_bit, k_sigma, masked_coefficients
from distres.kernels.shells import Float, Shells, fsc_of_sums
from distres.methods.fsc_findings import Finding, findings_of
from distres.methods.fsc_survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class FscParameters:
    """What can be chosen about a global FSC.

    Attributes
    ----------
    thresholds
        Correlations at which a resolution is reported; the first one is the headline.
    randomise_from_angstrom
        Phases are randomised beyond this resolution; None starts at the first shell whose unmasked
        FSC is below 0.8.
    repeats
        Independent phase randomisations, averaged.
    seed
        Same seed, same phases.
    sigma
        k of the k-sigma noise curve.
    symmetry_order
        Asymmetric units of the particle: the degrees of freedom are divided by it.
    sustained
        Shells in a row that must be below a threshold before the curve counts as fallen.
    """

    thresholds: tuple[float, ...] = (0.143, 0.5)
    randomise_from_angstrom: float | None = None
    repeats: int = 3
    seed: int = 1
    sigma: float = 3.0
    symmetry_order: int = 1
    sustained: int = 3

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            if not 0 < threshold < 1:
                raise UsageError(
                    f"an FSC threshold lies between 0 and 1, {threshold} does not; usual are 0.143 "
                    "and 0.5"
                )
        if not self.thresholds:
            raise UsageError("no FSC threshold was given; usual are 0.143 and 0.5")
        start = self.randomise_from_angstrom
        if start is not None and not start > 0:
            raise UsageError(f"phases cannot be randomised from {start} angstrom; give a length")
        if min(self.repeats, self.symmetry_order, self.sustained) < 1 or self.seed < 0:
            raise UsageError(
                "repeats, symmetry order and sustained shells are 1 or more, the seed 0 or more, "
                f"not {self.repeats}, {self.symmetry_order}, {self.sustained} and {self.seed}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where one curve falls below one threshold.

    Attributes
    ----------
    curve
        ``unmasked``, ``masked`` or ``corrected``.
    threshold
        ``0.143``, ``half-bit``, ``3-sigma``, ...
    resolution_angstrom
        None when the curve never reaches the threshold, or never falls below it.
    state
        ``crosses``, ``never above`` or ``never falls``.
    """

    curve: str
    threshold: str
    resolution_angstrom: float | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FscResult:
    """Curves over shells of physical frequency, and what follows from them.

    Attributes
    ----------
    shells
        Their frequencies and widths.
    curves
        ``unmasked``; with a mask also ``masked``, ``randomised`` (mean of the repeats) and
        ``corrected``. Each (count,) float64, 1 in shell 0.
    coefficients
        Coefficients per shell, (count,).
    effective
        Independent real degrees of freedom of the reported curve, (count,): coefficients over the
        symmetry order, and fewer under a mask.
    criteria
        Threshold curves by name, (count,) each.
    first_randomised_shell
        Where phase randomisation began; `count` when it never did.
    power
        Mean power of a coefficient per shell, unmasked, (2, count).
    reported
        Name of the curve the headline comes from.
    crossings
        Every curve at every threshold.
    findings
        What a reader must know before trusting the result.
    """

    shells: Shells
    curves: dict[str, Float]
    coefficients: Float
    effective: Float
    criteria: dict[str, Float]
    first_randomised_shell: int
    power: Float
    reported: str
    crossings: tuple[Crossing, ...]
    findings: tuple[Finding, ...]
    survey: Survey
    parameters: FscParameters = field(default_factory=FscParameters)

    @property
    def frequency_per_angstrom(self) -> Float:
        """Shell centres, (count,)."""
        return self.shells.frequency_per_angstrom

    def crossing(self, curve: str, threshold: str) -> Crossing:
        """Return one crossing by its names."""
        for found in self.crossings:
            if (found.curve, found.threshold) == (curve, threshold):
                return found
        raise KeyError(f"no crossing of {curve} at {threshold}")

    @property
    def headline(self) -> Crossing:
        """The reported curve at the first threshold."""
        return self.crossing(self.reported, f"{self.parameters.thresholds[0]:g}")

    @property
    def randomised_from_angstrom(self) -> float | None:
        """Resolution at which phase randomisation began; None without it."""
        shell = self.first_randomised_shell
        if "randomised" not in self.curves or shell >= self.shells.count:
            return None
        return 1.0 / (shell * self.shells.width_per_angstrom)

    def summary(self) -> dict[str, Any]:
        """Return the result without its curves as JSON values."""
        return {
            "reported_curve": self.reported,
            "resolution_angstrom": self.headline.resolution_angstrom,
            "threshold": self.parameters.thresholds[0],
            "nyquist_angstrom": 1.0 / self.shells.nyquist_per_angstrom,
            "shells": self.shells.count,
            "shell_width_per_angstrom": self.shells.width_per_angstrom,
            "crossings": [asdict(found) for found in self.crossings],
            "randomised_from_angstrom": self.randomised_from_angstrom,
            "mask_fraction": self.survey.mask_fraction,
            "findings": [asdict(found) for found in self.findings],
        }

    def to_dataset(self) -> xr.Dataset:
        """Return all curves over the coordinate ``frequency`` in 1/angstrom."""
        columns = {f"fsc_{name}": curve for name, curve in self.curves.items()}
        columns |= {f"threshold_{name}": curve for name, curve in self.criteria.items()}
        columns |= {"coefficients": self.coefficients, "effective": self.effective}
        data = xr.Dataset(
            {name: ("frequency", values) for name, values in columns.items()},
            coords={"frequency": ("frequency", self.frequency_per_angstrom)},
            attrs={
                "reported_curve": self.reported,
                "resolution_angstrom": self.headline.resolution_angstrom or float("nan"),
                "threshold": self.parameters.thresholds[0],
                "warnings": [found.message for found in self.findings],
            },
        )
        data["frequency"].attrs["units"] = "1/angstrom"
        return data


def result_of(
    shells: Shells, sums: Float, first_shell: int, found: Survey, parameters: FscParameters
) -> FscResult:
    """Turn shell sums (passes, 3, count + 1) into curves, crossings and findings."""
    coefficients = shells.coefficients()[:-1].astype(np.float64)
    effective = coefficients
    curves = {"unmasked": fsc_of_sums(sums[0])}
    if len(sums) > 1 and found.mask_power is not None:
        curves["masked"] = fsc_of_sums(sums[1])
        curves["randomised"] = fsc_of_sums(sums[2:]).mean(axis=0)
        curves["corrected"] = corrected_curve(curves["masked"], curves["randomised"], first_shell)
        effective = masked_coefficients(found.mask_power, shells, coefficients)
    reported = "corrected" if "corrected" in curves else "unmasked"
    effective = np.maximum(effective / parameters.symmetry_order, 1.0)
    sigma = f"{parameters.sigma:g}-sigma"
    criteria = {"half-bit": half_bit(effective), sigma: k_sigma(effective, parameters.sigma)}
    free = np.maximum(coefficients / parameters.symmetry_order, 1.0)
    plain = {"half-bit": half_bit(free), sigma: k_sigma(free, parameters.sigma)}
    levels: dict[str, Any] = {f"{value:g}": value for value in parameters.thresholds}
    crossings = [
        _cross(name, label, curve, level, shells, parameters)
        for name, curve in curves.items()
        if name != "randomised"
        for label, level in (levels | (plain if name == "unmasked" else criteria)).items()
    ]
    power = sums[0, 1:, :-1] / coefficients
    return FscResult(
        shells=shells,
        curves=curves,
        coefficients=coefficients,
        effective=effective,
        criteria=criteria,
        first_randomised_shell=first_shell,
        power=power,
        reported=reported,
        crossings=tuple(crossings),
        findings=findings_of(
            shells=shells,
            curves=curves,
            reported=reported,
            resolution={
                (found_.curve, found_.threshold): (found_.resolution_angstrom, found_.state)
                for found_ in crossings
            },
            thresholds=tuple(levels),
            sigma=sigma,
            first_shell=first_shell,
            power=power,
            survey=found,
        ),
        survey=found,
        parameters=parameters,
    )


def corrected_curve(masked: Float, randomised: Float, first_shell: int) -> Float:
    """Remove from the masked FSC the correlation that the mask itself makes."""
    corrected = masked.copy()
    tail = slice(first_shell + 2, None)
    # Two equal copies of a tiny masked region may correlate fully; nothing is known there.
    rest = np.maximum(1.0 - randomised[tail], 1e-6)
    corrected[tail] = (masked[tail] - randomised[tail]) / rest
    return corrected


def _cross(
    name: str,
    label: str,
    curve: Float,
    level: npt.ArrayLike,
    shells: Shells,
    parameters: FscParameters,
) -> Crossing:
    place = first_crossing(curve, level, run=parameters.sustained)
    if place is None:
        return Crossing(curve=name, threshold=label, resolution_angstrom=None, state="never falls")
    if place == 0:
        return Crossing(curve=name, threshold=label, resolution_angstrom=None, state="never above")
    resolution = 1.0 / (place * shells.width_per_angstrom)
    return Crossing(curve=name, threshold=label, resolution_angstrom=resolution, state="crosses")
