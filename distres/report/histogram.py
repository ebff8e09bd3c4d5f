"""Histogram of the local resolution inside the mask: a picture and its numbers."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from distres.report import figures
from distres.report.colours import Limits, colour
from distres.report.record import Histogram

_MARKS = ((5.0, ":"), (25.0, "--"), (50.0, "-"), (75.0, "--"), (95.0, ":"))


def write_csv(path: Path, histogram: Histogram) -> Path:
    """Write bin edges in angstrom, counts, and the share of voxels up to each bin's end.

    Empty bins before the first and after the last voxel are left out.
    """
    total = max(histogram.total, 1)
    cumulative = np.cumsum(histogram.counts) / total
    filled = np.flatnonzero(histogram.counts)
    shown = slice(filled[0], filled[-1] + 1) if filled.size else slice(None)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["from_angstrom", "to_angstrom", "voxels", "cumulative_fraction"])
        edges = histogram.edges_angstrom
        for low, high, count, share in zip(
            edges[:-1][shown],
            edges[1:][shown],
            histogram.counts[shown],
            cumulative[shown],
            strict=True,
        ):
            writer.writerow([f"{low:.6g}", f"{high:.6g}", int(count), f"{share:.6f}"])
    return path


def shown_range(histogram: Histogram, limits: Limits) -> tuple[float, float]:
    """Return the resolutions worth showing: half a percent of the voxels left out on each side."""
    if not histogram.total:
        return limits.high_res, limits.low_res
    low = min(histogram.percentile(0.5), limits.high_res)
    high = max(histogram.percentile(99.5), limits.low_res)
    margin = 0.03 * (high - low)
    edges = histogram.edges_angstrom
    return max(low - margin, float(edges[0])), min(high + margin, float(edges[-1]))


def draw(
    histogram: Histogram, limits: Limits, *, title: str = "", unresolved_fraction: float = 0.0
) -> Figure:
    """Draw the histogram with its median and percentiles.

    Parameters
    ----------
    histogram
        Counts inside the mask.
    limits
        Colour limits, shared with slices and scripts.
    title
        Shown above, as it is.
    unresolved_fraction
        Share of the mask's voxels that have no resolution; said in the picture when not zero.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    low, high = shown_range(histogram, limits)
    bars = histogram.merged(low, high)
    edges, counts = bars.edges_angstrom, bars.counts
    widths = np.diff(edges)
    # Bins may widen with the resolution; per angstrom, equal areas are equal numbers of voxels.
    share = 100 * counts / max(histogram.total, 1) / widths
    axes.bar(
        edges[:-1],
        share,
        width=widths,
        align="edge",
        color=colour((edges[:-1] + edges[1:]) / 2, limits) / 255,
        linewidth=0,
    )
    axes.set_xlim(low, high)
    axes.set_ylim(0, float(share.max() or 1) * 1.05)
    for percent, style in _MARKS if histogram.total else ():
        value = histogram.percentile(percent)
        axes.axvline(value, color="#222222", linestyle=style, linewidth=1.6 if percent == 50 else 1)
    axes.set_xlabel("local resolution (Å)")
    axes.set_ylabel("voxels in the mask (% per Å)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        figures.plain(title) + "\n" + _words(histogram, unresolved_fraction),
        fontsize=8.5,
        loc="left",
        linespacing=1.5,
    )
    return figure


def _words(histogram: Histogram, unresolved_fraction: float) -> str:
    if not histogram.total:
        return "no voxel of the mask has a resolution"
    p = {percent: histogram.percentile(percent) for percent, _ in _MARKS}
    parts = [
        f"median {p[50.0]:.2f} Å",
        f"middle half {p[25.0]:.2f} to {p[75.0]:.2f} Å",
        f"5 to 95 %: {p[5.0]:.2f} to {p[95.0]:.2f} Å",
    ]
    if unresolved_fraction > 0:
        parts.append(f"{100 * unresolved_fraction:.1f} % without")
    return "   ".join(parts)


def write_svg(
    path: Path,
    histogram: Histogram,
    limits: Limits,
    *,
    title: str = "",
    unresolved_fraction: float = 0.0,
) -> Path:
    """Write `draw` as SVG; the same input gives the same bytes."""
    figure = draw(histogram, limits, title=title, unresolved_fraction=unresolved_fraction)
    return figures.write_svg(figure, path)
