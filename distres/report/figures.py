"""How every figure is titled and written."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure


def plain(title: str) -> str:
    """Return a title that is shown as it is: a dollar sign in a file name would start a formula."""
    return title.replace("$", r"\$")


def write_svg(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG; the same figure gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "distres"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def write_both(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Write ``<name>.svg`` and ``<name>.png`` and return their paths."""
    svg = write_svg(figure, directory / f"{name}.svg")
    png = directory / f"{name}.png"
    figure.savefig(png, format="png", dpi=160)
    return [svg, png]
