"""Central slices: density in grey, and the local resolution in colour where the mask is."""

from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from distres.engine.jobs import Source
from distres.report.colours import RAMP, UNRESOLVED, Limits, colour

Floats = npt.NDArray[np.floating[Any]]
Triple = tuple[float, float, float]
Place = tuple[int, int, int]

# A picture shows no more samples than this along an edge; a larger plane is thinned out.
_EDGE_SAMPLES = 1200
# Inches.
_PANELS_WIDTH, _GAP, _LEFT, _RIGHT, _TOP, _BOTTOM = 9.6, 0.22, 0.25, 1.15, 0.62, 0.3
_AXES = "zyx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One slice across the volume, ready to be drawn.

    Attributes
    ----------
    axis
        0, 1 or 2: the slice is normal to z, y or x.
    index
        Voxel along that axis.
    density, resolution, mask
        (rows, columns) float32; the rows are the slower remaining axis.
    extent_angstrom
        Height and width of the slice.
    """

    axis: int
    index: int
    density: Floats
    resolution: Floats
    mask: Floats
    extent_angstrom: tuple[float, float]

    @property
    def names(self) -> tuple[str, str]:
        """Names of the vertical and the horizontal axis."""
        rest = _AXES.replace(_AXES[self.axis], "")
        return rest[0], rest[1]


def read_planes(
    density: tuple[Source, ...],
    resolution: Source,
    mask: Source,
    *,
    voxel_size_angstrom: Triple,
    at: Place | None = None,
) -> tuple[Plane, Plane, Plane]:
    """Read the three slices through one voxel, and nothing else.

    Parameters
    ----------
    density
        One source, or two half maps to be averaged; (z, y, x).
    resolution
        Local resolution in angstrom, NaN where there is none.
    mask
        In [0, 1].
    voxel_size_angstrom
        (z, y, x).
    at
        Voxel (z, y, x) that all three slices hold; the centre of the box when not given.
    """
    shape = resolution.shape[-3:]
    place = at or tuple(n // 2 for n in shape)
    planes = []
    for axis in range(3):
        region = tuple(
            slice(p, p + 1) if a == axis else slice(0, n)
            for a, (p, n) in enumerate(zip(place, shape, strict=True))
        )
        height, width = (
            n * v
            for a, (n, v) in enumerate(zip(shape, voxel_size_angstrom, strict=True))
            if a != axis
        )
        planes.append(
            Plane(
                axis=axis,
                index=place[axis],
                density=np.mean([_thin(s.read(region), axis) for s in density], axis=0),
                resolution=_thin(resolution.read(region), axis),
                mask=_thin(mask.read(region), axis),
                extent_angstrom=(height, width),
            )
        )
    return planes[0], planes[1], planes[2]


def mask_centre(occupancy: Source, divisor: int, shape: tuple[int, ...]) -> Place:
    """Return the voxel in the middle of the mask, from its coarse occupancy.

    Parameters
    ----------
    occupancy
        One value for `divisor` voxels along every axis.
    divisor
        Voxels per value.
    shape
        Voxels of the volume.
    """
    weight = np.asarray(occupancy.read((slice(None),) * 3), dtype=np.float64)
    total = weight.sum()
    if not total:
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    z, y, x = (
        min(
            int(
                ((np.arange(n) + 0.5) * weight.sum(axis=tuple({0, 1, 2} - {a}))).sum()
                / total
                * divisor
            ),
            shape[a] - 1,
        )
        for a, n in enumerate(weight.shape)
    )
    return z, y, x


def _thin(block: npt.NDArray[Any], axis: int) -> Floats:
    plane: Floats = np.take(np.asarray(block, dtype=np.float32), 0, axis=axis)
    rows, columns = (-(-n // _EDGE_SAMPLES) for n in plane.shape)
    return plane[::rows, ::columns]


def paint(plane: Plane, limits: Limits, grey_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Colour a slice: resolution where the mask exceeds one half, density in grey elsewhere.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3) uint8.
    """
    grey = np.repeat(_grey(plane, grey_range)[..., None], 3, axis=-1)
    # Paler grey beside the colours, so that the eye stays on them.
    painted = (128 + grey.astype(np.int16) // 2).astype(np.uint8)
    inside = plane.mask > 0.5
    painted[inside] = colour(plane.resolution, limits)[inside]
    return painted


def _grey(plane: Plane, grey_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = grey_range
    scaled = (np.nan_to_num(plane.density) - low) / max(high - low, 1e-30)
    return np.asarray(np.rint(255 * np.clip(scaled, 0, 1)), dtype=np.uint8)


def draw(planes: tuple[Plane, Plane, Plane], limits: Limits, *, title: str = "") -> Figure:
    """Draw density above and local resolution below, for the slices across z, y and x.

    All panels have one scale, so that a flat box looks flat.
    """
    widths = [p.extent_angstrom[1] for p in planes]
    heights = [p.extent_angstrom[0] for p in planes]
    # Tall boxes would make a picture that no screen shows.
    inch = min((_PANELS_WIDTH - 2 * _GAP) / sum(widths), 4.2 / max(heights))
    row = max(heights) * inch
    total_width = _LEFT + sum(widths) * inch + 2 * _GAP + _RIGHT
    total_height = _BOTTOM + 2 * row + _GAP + _TOP
    total_width = max(total_width, 5.0)
    figure = Figure(figsize=(total_width, total_height), facecolor="white")
    densities = np.concatenate([p.density[np.isfinite(p.density)].ravel() for p in planes])
    low, high = np.percentile(densities, [0.5, 99.8]) if densities.size else (0.0, 1.0)
    grey_range = (float(low), float(high))
    left = _LEFT
    for column, plane in enumerate(planes):
        height, width = heights[column] * inch, widths[column] * inch
        for line, bottom in enumerate((_BOTTOM + row + _GAP, _BOTTOM)):
            # Panels hang from the top of their row.
            axes = figure.add_axes(
                (
                    left / total_width,
                    (bottom + row - height) / total_height,
                    width / total_width,
                    height / total_height,
                ),
                label=f"{'density' if line == 0 else 'resolution'} {_AXES[plane.axis]}",
            )
            if line == 0:
                _show(axes, np.repeat(_grey(plane, grey_range)[..., None], 3, axis=-1), plane)
                if plane.mask.max() > 0.5 > plane.mask.min():
                    _outline(axes, plane)
                axes.set_title(
                    f"{_AXES[plane.axis]} = {plane.index}", fontsize=9, pad=4, color="#222222"
                )
            else:
                _show(axes, paint(plane, limits, grey_range), plane)
            _name_axes(axes, plane)
        left += width + _GAP
    first = figure.axes[0]
    _scale_bar(first, planes[0].extent_angstrom)
    _colour_bar(figure, limits, left=left, bottom=_BOTTOM, height=row)
    figure.text(
        _LEFT / total_width,
        1 - 0.12 / total_height,
        title.replace("$", r"\$"),
        fontsize=10,
        va="top",
    )
    return figure


def _show(axes: Axes, picture: npt.NDArray[np.uint8], plane: Plane) -> AxesImage:
    height, width = plane.extent_angstrom
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#888888")
        spine.set_linewidth(0.6)
    return axes.imshow(
        picture,
        origin="lower",
        extent=(0, width, 0, height),
        interpolation="nearest",
        aspect="auto",
    )


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


def _colour_bar(
    figure: Figure, limits: Limits, *, left: float, bottom: float, height: float
) -> None:
    total_width, total_height = figure.get_size_inches()
    tall = max(height - 0.35, 1.1)
    axes = figure.add_axes(
        (
            left / total_width,
            (bottom + 0.35) / total_height,
            0.16 / total_width,
            tall / total_height,
        ),
        label="colour bar",
    )
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
        bbox_to_anchor=((left - 0.06) / total_width, (bottom - 0.08) / total_height),
        frameon=False,
        fontsize=8,
        handlelength=0.9,
        borderpad=0.2,
    )


def ramp_colormap() -> LinearSegmentedColormap:
    """Return the ramp as a Matplotlib colour map, for figures of one's own."""
    return LinearSegmentedColormap.from_list("distres", list(RAMP))


def write_png(
    path: Path,
    planes: tuple[Plane, Plane, Plane],
    limits: Limits,
    *,
    title: str = "",
    dpi: int = 160,
) -> Path:
    """Write `draw` as PNG."""
    draw(planes, limits, title=title).savefig(path, format="png", dpi=dpi)
    return path
