"""Picture of the noise that ResMap was whitened by: measured spectrum and fitted curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distres.report.figures import write_svg


def draw(record: Mapping[str, Any]) -> Figure:
    """Draw the noise amplitude of a ResMap record over frequency, with its fit.

    Parameters
    ----------
    record
        ``run.json`` of a run that was whitened.
    """
    found = record["resmap"]
    fit = found["whitening"]
    power = np.array(found["noise_spectrum"])
    place = (np.arange(power.size) + 0.5) / power.size
    nyquist = fit["nyquist_per_angstrom"]
    c0, c1, c2 = fit["coefficients"]
    s = np.clip(place, fit["elbow"], fit["limit"])
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    known = power > 0
    axes.semilogy(
        place[known] * nyquist, np.sqrt(power[known]), "o", color="#0072b2", label="noise amplitude"
    )
    axes.semilogy(
        place * nyquist, np.exp(c0 + c1 * s + c2 * s**2), color="#d55e00", label="fit, divided out"
    )
    axes.axvspan(fit["elbow"] * nyquist, fit["limit"] * nyquist, color="#d55e00", alpha=0.1)
    axes.set_xlim(0, nyquist)
    axes.set_xlabel("spatial frequency (1/Å)")
    axes.set_ylabel("amplitude")
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


def write_picture(directory: Path, stem: str, record: Mapping[str, Any]) -> Path | None:
    """Write ``<stem>_noise.svg``; None for a run without whitening."""
    if not record["resmap"]["whitening"]:
        return None
    return write_svg(draw(record), directory / f"{stem}_noise.svg")
