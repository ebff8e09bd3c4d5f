"""Picture of a global FSC: curves over frequency, thresholds, criteria, and where they cross."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from distres.methods.fsc_result import FscResult
from distres.report.figures import plain, write_both

# Colours that stay apart for colour-blind eyes (Okabe & Ito); widths and dashes repeat what they
# say, for grey paper.
_STYLES = {
    "corrected": ("#0072b2", "-", 2.2, "corrected"),
    "masked": ("#009e73", "-", 1.1, "masked"),
    "unmasked": ("#d55e00", "-", 1.1, "unmasked"),
    "randomised": ("#7f7f7f", "--", 1.1, "phases randomised, masked"),
}
_CRITERIA = {"half-bit": ("#cc79a7", (0, (4, 1.5)), "half-bit")}
_SIGMA = ("#555555", ":")
_MANTISSAS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)


def angstrom_ticks(highest_per_angstrom: float, *, spacing: float = 0.075) -> list[float]:
    """Choose round resolutions whose labels keep apart on an axis that is linear in frequency.

    Parameters
    ----------
    highest_per_angstrom
        Right end of the axis, which begins at 0.
    spacing
        Least distance between ticks, as a part of the axis.

    Returns
    -------
    list[float]
        Angstrom, finest first.
    """
    decade = np.floor(np.log10(1.0 / highest_per_angstrom))
    round_values = [m * 10.0**d for d in (decade, decade + 1, decade + 2) for m in _MANTISSAS]
    ticks: list[float] = []
    last = np.inf
    for value in round_values:
        place = 1.0 / (value * highest_per_angstrom)
        if place <= 1.0 and last - place >= spacing and place >= spacing / 2:
            ticks.append(float(f"{value:.6g}"))
            last = place
    return ticks


def draw(result: FscResult, *, title: str = "") -> Figure:
    """Draw all curves of a result.

    Parameters
    ----------
    result
        Curves, criteria and crossings.
    title
        Shown above, as it is.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    frequency = result.frequency_per_angstrom
    for name, (colour, dash, width, label) in _STYLES.items():
        if name in result.curves:
            axes.plot(
                frequency, result.curves[name], dash, color=colour, linewidth=width, label=label
            )
    for name, curve in result.criteria.items():
        colour, style, label = _CRITERIA.get(name, (*_SIGMA, name.replace("-", " ")))
        axes.plot(
            frequency[1:], curve[1:], color=colour, linestyle=style, linewidth=1.1, label=label
        )
    _draw_thresholds(axes, result)
    _draw_axes(axes, result)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    words = f"{plain(title)}\n{_words(result)}".strip()
    axes.set_title(words, fontsize=8.5, loc="left", linespacing=1.5)
    return figure


def _draw_thresholds(axes: Axes, result: FscResult) -> None:
    for threshold in result.parameters.thresholds:
        axes.axhline(threshold, color="#999999", linewidth=0.7)
        axes.annotate(
            f"{threshold:g}",
            (1.0, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        found = result.crossing(result.reported, f"{threshold:g}")
        if found.resolution_angstrom is not None:
            place = 1.0 / found.resolution_angstrom
            colour = _STYLES[result.reported][0]
            axes.plot([place], [threshold], "o", color=colour, markersize=5, zorder=5)
            axes.annotate(
                f"{found.resolution_angstrom:.2f} Å",
                (place, threshold),
                xytext=(6, 6),
                textcoords="offset points",
                fontsize=8.5,
                color=colour,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )


def _draw_axes(axes: Axes, result: FscResult) -> None:
    highest = float(result.frequency_per_angstrom[-1])
    lowest = min(float(curve.min()) for curve in result.curves.values())
    axes.set_xlim(0, highest)
    axes.set_ylim(min(-0.05, max(lowest * 1.1, -1.0)), 1.03)
    axes.axhline(0, color="#222222", linewidth=0.7)
    axes.set_xlabel("spatial frequency (1/Å)")
    axes.set_ylabel("Fourier shell correlation")
    axes.spines[["right"]].set_visible(False)
    ticks = angstrom_ticks(highest)
    top = axes.twiny()
    top.set_xlim(0, highest)
    top.set_xticks([1.0 / tick for tick in ticks], [f"{tick:g}" for tick in ticks])
    top.set_xlabel("resolution (Å)")
    top.spines[["right"]].set_visible(False)


def _words(result: FscResult) -> str:
    found = result.headline
    if found.resolution_angstrom is None:
        text = f"{found.curve} FSC {found.state} {found.threshold}"
    else:
        text = f"{found.resolution_angstrom:.2f} Å at {found.threshold} ({found.curve})"
    start = result.randomised_from_angstrom
    parts = [text] + ([] if start is None else [f"phases randomised beyond {start:.2f} Å"])
    if result.findings:
        count = len(result.findings)
        parts.append("1 warning" if count == 1 else f"{count} warnings")
    return "   ".join(parts)


def write_pictures(directory: Path, stem: str, result: FscResult, *, title: str = "") -> list[Path]:
    """Write `draw` as ``<stem>_fsc.svg`` and ``<stem>_fsc.png``."""
    return write_both(draw(result, title=title), directory, f"{stem}_fsc")
