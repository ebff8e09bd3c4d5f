"""Central slices: density in grey, and the local resolution in colour where the mask is."""

from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from distres.report.colours import UNRESOLVED, Limits, colour
from distres.report.figures import plain
from distres.report.planes import AXES, Plane, grey_levels, paint

Planes = tuple[Plane, Plane, Plane]
Box = tuple[float, float, float, float]

# Inches.
_PANELS_WIDTH, _GAP, _LEFT, _RIGHT, _TOP, _BOTTOM = 9.6, 0.22, 0.25, 1.15, 0.62, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where panels lie, in inches: one scale for all, rows hanging from their tops."""

    scale: float
    row: float
    width: float
    height: float
    rows: int

    @classmethod
    def of(cls, planes: Planes, *, rows: int) -> "_Layout":
        widths = [p.extent_angstrom[1] for p in planes]
        tallest = max(p.extent_angstrom[0] for p in planes)
        # Tall boxes would make a picture that no screen shows.
        scale = min((_PANELS_WIDTH - 2 * _GAP) / sum(widths), 4.2 / tallest)
        row = tallest * scale
        right = _RIGHT if rows > 1 else _LEFT
        return cls(
            scale=scale,
            row=row,
            width=max(_LEFT + sum(widths) * scale + 2 * _GAP + right, 5.0),
            height=_BOTTOM + rows * row + (rows - 1) * _GAP + _TOP,
            rows=rows,
        )

    def bottom(self, line: int) -> float:
        return _BOTTOM + (self.rows - 1 - line) * (self.row + _GAP)

    def box(self, left: float, bottom: float, width: float, height: float) -> Box:
        """Turn inches into fractions of the figure."""
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def draw(planes: Planes, limits: Limits | None, *, title: str = "") -> Figure:
    """Draw density above and local resolution below, for the slices across z, y and x.

    All panels have one scale, so that a flat box looks flat.

    Parameters
    ----------
    planes
        The slices.
    limits
        Ends of the colour ramp; None draws density and mask alone.
    title
        Shown above, as it is.
    """
    layout = _Layout.of(planes, rows=1 if limits is None else 2)
    figure = Figure(figsize=(layout.width, layout.height), facecolor="white")
    densities = np.concatenate([p.density[np.isfinite(p.density)].ravel() for p in planes])
    low, high = np.percentile(densities, [0.5, 99.8]) if densities.size else (0.0, 1.0)
    grey_range = (float(low), float(high))
    left = _LEFT
    for plane in planes:
        height, width = (extent * layout.scale for extent in plane.extent_angstrom)

        def panel(
            line: int, what: str, plane: Plane = plane, left: float = left,
            width: float = width, height: float = height,
        ) -> Axes:  # fmt: skip
            box = layout.box(left, layout.bottom(line) + layout.row - height, width, height)
            return figure.add_axes(box, label=f"{what} {AXES[plane.axis]}")

        _draw_density(panel(0, "density"), plane, grey_range)
        if limits is not None:
            _show(panel(1, "resolution"), paint(plane, limits, grey_range), plane)
        left += width + _GAP
    _scale_bar(figure.axes[0], planes[0].extent_angstrom)
    if limits is not None:
        _colour_bar(figure, layout, limits, left=left)
    x, y, _, _ = layout.box(_LEFT, layout.height - 0.12, 0, 0)
    figure.text(x, y, plain(title), fontsize=10, va="top")
    return figure


def _draw_density(axes: Axes, plane: Plane, grey_range: tuple[float, float]) -> None:
    _show(axes, np.repeat(grey_levels(plane, grey_range)[..., None], 3, axis=-1), plane)
    if plane.mask.max() > 0.5 > plane.mask.min():
        _outline(axes, plane)
    axes.set_title(f"{AXES[plane.axis]} = {plane.index}", fontsize=9, pad=4, color="#222222")


def _show(axes: Axes, picture: npt.NDArray[np.uint8], plane: Plane) -> None:
    height, width = plane.extent_angstrom
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#888888")
        spine.set_linewidth(0.6)
    axes.imshow(
        picture,
        origin="lower",
        extent=(0, width, 0, height),
        interpolation="nearest",
        aspect="auto",
    )
    _name_axes(axes, plane)


def _outline(axes: Axes, plane: Plane) -> None:
    height, width = plane.extent_angstrom
    rows, columns = plane.mask.shape
    axes.contour(
        (np.arange(columns) + 0.5) * width / columns,
        (np.arange(rows) + 0.5) * height / rows,
        plane.mask,
        levels=[0.5],
        colors=["#fdea3c"],
        linewidths=0.7,
    )


def _name_axes(axes: Axes, plane: Plane) -> None:
    vertical, horizontal = plane.names
    outlined = [withStroke(linewidth=2, foreground="black")]
    for x, y, text, ha, va in (
        (0.985, 0.015, f"{horizontal} →", "right", "bottom"),
        (0.015, 0.985, f"{vertical} ↑", "left", "top"),
    ):
        axes.text(
            x, y, text, transform=axes.transAxes, ha=ha, va=va, fontsize=8,
            color="white", path_effects=outlined,
        )  # fmt: skip


def _scale_bar(axes: Axes, extent_angstrom: tuple[float, float]) -> None:
    height, width = extent_angstrom
    length = nice_length(width / 4)
    x, y = 0.04 * width, 0.05 * height
    outlined = [withStroke(linewidth=2.5, foreground="black")]
    axes.plot(
        [x, x + length],
        [y, y],
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=4, foreground="black")],
    )
    axes.annotate(
        f"{length / 10:g} nm" if length >= 1000 else f"{length:g} Å",
        (x, y), xytext=(0, 4), textcoords="offset points", fontsize=8,
        color="white", path_effects=outlined,
    )  # fmt: skip


def nice_length(about_angstrom: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... angstrom that does not exceed `about_angstrom`."""
    power = 10.0 ** int(np.floor(log10(about_angstrom)))
    return float(max(m * power for m in (1, 2, 5) if m * power <= about_angstrom * 1.0001))


def _colour_bar(figure: Figure, layout: _Layout, limits: Limits, *, left: float) -> None:
    bottom = layout.bottom(1)
    tall = max(layout.row - 0.35, 1.1)
    axes = figure.add_axes(layout.box(left, bottom + 0.35, 0.16, tall), label="colour bar")
    ramp = np.linspace(limits.low_res, limits.high_res, 256)[:, None]
    axes.imshow(
        colour(ramp, limits),
        origin="upper",
        extent=(0, 1, limits.high_res, limits.low_res),
        aspect="auto",
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(limits.ticks(), [f"{v:g}" for v in limits.ticks()], fontsize=8)
    axes.yaxis.set_label_position("right")
    axes.set_ylabel("local resolution (Å)", fontsize=8.5)
    figure.legend(
        handles=[Patch(color=UNRESOLVED, label="none")],
        loc="lower left",
        bbox_to_anchor=layout.box(left - 0.06, bottom - 0.08, 0, 0)[:2],
        frameon=False,
        fontsize=8,
        handlelength=0.9,
        borderpad=0.2,
    )


def write_png(
    path: Path,
    planes: Planes,
    limits: Limits | None,
    *,
    title: str = "",
    dpi: int = 160,
) -> Path:
    """Write `draw` as PNG."""
    draw(planes, limits, title=title).savefig(path, format="png", dpi=dpi)
    return path
