"""What an FSC shows about the maps it came from: reasons not to trust a number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from distres.kernels.shells import Float, Shells
from distres.methods.fsc_survey import Survey

# Mask-made correlation that is no longer small at the resolution reported (RELION warns there too).
RANDOMISED_LIMIT = 0.1
# A map that was masked before: this part of it is one and the same number. A ball in its cube
# leaves 0.48, a particle more; noise in whole numbers needs a deviation below 1.3 to reach it.
CONSTANT_LIMIT = 0.3
# Mean power of a coefficient near Nyquist over that of all: white noise as strong as a tenth of the
# signal's standard deviation still gives 1e-2, a low-pass filter falls to float32 rounding, 1e-14.
FILTERED_LIMIT = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One warning: a name for programs and a sentence for people."""

    code: str
    message: str


Resolutions = Mapping[tuple[str, str], tuple[float | None, str]]


def findings_of(
    *,
    shells: Shells,
    curves: Mapping[str, Float],
    reported: str,
    resolution: Resolutions,
    thresholds: tuple[str, ...],
    sigma: str,
    first_shell: int,
    power: Float,
    survey: Survey,
) -> tuple[Finding, ...]:
    """Collect all findings, inputs first.

    Parameters
    ----------
    resolution
        (resolution in angstrom or None, state) by curve and threshold name.
    thresholds
        Names of the fixed thresholds.
    sigma
        Name of the noise criterion.
    power
        (2, count) mean power of a coefficient.
    """
    return (
        *_input_findings(survey, power, shells),
        *_curve_findings(resolution, reported, thresholds, sigma, shells, survey),
        *_mask_findings(curves, resolution, thresholds, first_shell, shells, survey),
    )


def _input_findings(survey: Survey, power: Float, shells: Shells) -> Iterator[Finding]:
    if survey.equal_fraction == 1.0:
        yield Finding(
            code="identical-halves",
            message="both halves are the same map, so their correlation says nothing; give "
            "independently refined halves",
        )
    for which, name in enumerate(("half 1", "half 2")):
        constant = survey.constant_fraction[which]
        if constant > CONSTANT_LIMIT:
            yield Finding(
                code="pre-masked",
                message=f"{100 * constant:.0f} % of {name} is one constant value: it was masked "
                "before, which raises the FSC; give the unmasked half map",
            )
        elif survey.solvent_deviation is not None and (
            survey.solvent_deviation[which] < 1e-3 * survey.deviation[which]
        ):
            yield Finding(
                code="pre-masked",
                message=f"the solvent of {name} has no noise: it was masked before, which raises "
                "the FSC; give the unmasked half map",
            )
        drop = _spectrum_drop(power[which], shells)
        if drop < FILTERED_LIMIT:
            yield Finding(
                code="pre-filtered",
                message=f"the spectrum of {name} falls to {drop:.0e} of its mean before Nyquist: "
                "it was low-pass filtered, and the FSC beyond the filter is rounding noise",
            )


def _spectrum_drop(power: Float, shells: Shells) -> float:
    """Power of the last tenth of the shells over the mean power of a coefficient (1)."""
    # Halves are normalised, so the power of a coefficient is the number of voxels on average.
    last = max(shells.count // 10, 1)
    return float(np.median(power[-last:]) / np.prod(shells.shape))


def _curve_findings(
    resolution: Resolutions,
    reported: str,
    thresholds: tuple[str, ...],
    sigma: str,
    shells: Shells,
    survey: Survey,
) -> Iterator[Finding]:
    finest = 1.0 / shells.nyquist_per_angstrom
    noise, _ = resolution[reported, sigma]
    for threshold in thresholds:
        value, state = resolution[reported, threshold]
        if state == "never falls" and survey.equal_fraction < 1.0:
            yield Finding(
                code="never-falls",
                message=f"the {reported} FSC stays above {threshold} up to {finest:.2f} A, the "
                "limit of the voxel size: the halves share signal or noise all the way",
            )
        elif state == "never above":
            yield Finding(
                code="never-above",
                message=f"the {reported} FSC never reaches {threshold}: the halves share no signal",
            )
        elif value is not None and noise is not None and value < noise:
            yield Finding(
                code="below-noise",
                message=f"at threshold {threshold} the FSC is within {sigma.replace('-', ' ')} of "
                f"noise ({value:.2f} A; noise is reached at {noise:.2f} A)",
            )


def _mask_findings(
    curves: Mapping[str, Float],
    resolution: Resolutions,
    thresholds: tuple[str, ...],
    first_shell: int,
    shells: Shells,
    survey: Survey,
) -> Iterator[Finding]:
    if "corrected" not in curves:
        return
    if survey.mask_soft == 0:
        yield Finding(
            code="hard-mask",
            message="the mask has no soft edge, which makes correlation of its own; give it a "
            "cosine edge of at least 5 voxels",
        )
    if survey.mask_faces:
        yield Finding(
            code="mask-at-edge",
            message=f"the mask touches the faces of the box in {survey.mask_faces} voxels: what it "
            "cuts there counts as a sharp edge",
        )
    if first_shell >= shells.count:
        yield Finding(
            code="not-randomised",
            message="the unmasked FSC never falls below 0.8, so no phases were randomised and the "
            "corrected curve is the masked one; name a resolution with --randomise-from",
        )
    for threshold in thresholds:
        yield from _tight_mask(curves, resolution, threshold, shells)


def _tight_mask(
    curves: Mapping[str, Float], resolution: Resolutions, threshold: str, shells: Shells
) -> Iterator[Finding]:
    corrected, _ = resolution["corrected", threshold]
    unmasked, _ = resolution["unmasked", threshold]
    if corrected is None:
        return
    made = float(np.interp(1.0 / corrected, shells.frequency_per_angstrom, curves["randomised"]))
    if made > RANDOMISED_LIMIT:
        yield Finding(
            code="mask-correlation",
            message=f"at {corrected:.2f} A the mask alone makes a correlation of {made:.2f} (more "
            f"than {RANDOMISED_LIMIT}): make it wider or softer",
        )
    if unmasked is not None and unmasked < corrected:
        yield Finding(
            code="unmasked-better",
            message=f"at {threshold} the unmasked FSC reaches {unmasked:.2f} A but the corrected "
            f"one only {corrected:.2f} A: the mask is too tight or in the wrong place",
        )
