"""Scripts that open a run in ChimeraX and in napari, coloured as in the pictures."""

from pathlib import Path

from distres.report.colours import UNRESOLVED, Limits
from distres.report.quoting import chimerax_quote, comment, relative_name

_TEMPLATE = '''"""{heading}

Run it with ``python {name}``; it needs napari and mrcfile.
"""

from pathlib import Path

import mrcfile
import napari
import numpy as np

HERE = Path(__file__).resolve().parent
DENSITY = {density}
LOCAL_RESOLUTION = {locres}
VOXEL_SIZE_ANGSTROM = {voxel_size}  # z, y, x
ORIGIN_ANGSTROM = {origin}  # z, y, x
LIMITS_ANGSTROM = {limits}
COLOURS = {colours}

place = {{"scale": VOXEL_SIZE_ANGSTROM, "translate": ORIGIN_ANGSTROM}}
viewer = napari.Viewer(title="distres")
if DENSITY is not None:
    density = mrcfile.read(HERE / DENSITY)
    viewer.add_image(density, name="density", colormap="gray", **place)
resolution = mrcfile.read(HERE / LOCAL_RESOLUTION).astype(np.float32)
# 0 means "none" in MRC files: it gets a transparent colour just below the ramp.
high_res, low_res = LIMITS_ANGSTROM
below = high_res - (low_res - high_res) / 99
resolution = np.where(resolution == 0, below, np.maximum(resolution, high_res))
rgb = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS]
ramp = napari.utils.Colormap(
    [[*rgb[0], 0.0], *([*c, 1.0] for c in rgb)],
    controls=[0.0, *np.linspace(0.01, 1.0, len(rgb))],
    name="distres",
)
layer = viewer.add_image(
    resolution,
    name="local resolution (angstrom)",
    colormap=ramp,
    contrast_limits=(below, low_res),
    opacity=0.7,
    **place,
)
if hasattr(layer, "colorbar"):
    layer.colorbar.visible = True
viewer.scale_bar.visible = True
viewer.scale_bar.unit = "angstrom"
viewer.dims.set_point(
    range(3),
    [o + s * n / 2 for o, s, n in zip(ORIGIN_ANGSTROM, VOXEL_SIZE_ANGSTROM, resolution.shape)],
)
napari.run()
'''


def chimerax_script(
    density: str | Path | None,
    locres_fill: str | Path,
    limits: Limits,
    *,
    directory: Path,
    heading: str = "",
) -> str:
    """Return the commands that colour a density's surface by the local resolution.

    ChimeraX makes the script's folder its working directory while it runs the script, so names
    relative to `directory` work wherever the run is moved to. Its predefined palettes hold no
    ramp that is safe for colour-blind eyes, and ``key true`` does nothing in scripts, so that
    values, colours and key are written out.

    Parameters
    ----------
    density
        Map whose surface is coloured; None leaves it to the user to open one before.
    locres_fill
        Local resolution, extended beyond the mask: ChimeraX interpolates, and a 0 beside the
        surface would paint a false rim.
    limits
        Ends of the ramp.
    directory
        Where the script will lie.

    Raises
    ------
    InputError
        A file name cannot be quoted safely.
    """
    pairs = [(f"{value:.3f}".rstrip("0").rstrip("."), colour) for value, colour in limits.pairs()]
    palette = ":".join(f"{value},{colour}" for value, colour in pairs)
    # A label at every second colour keeps the key readable.
    key = " ".join(f"{c}:{v if i % 2 == 0 else ''}" for i, (v, c) in enumerate(pairs))
    resolution = chimerax_quote(relative_name(locres_fill, directory))
    lines = [f"# {comment(heading)}"] if heading else []
    lines.append(
        "# Open this in an empty session: the density becomes model #1, the resolution #2."
    )
    if density is None:
        lines += [
            "# Open your map before this script: no density lies beside the result.",
            f"open {resolution}",
        ]
    else:
        lines += [
            "# To colour another map at the same place, open it instead of this one.",
            f"open {chimerax_quote(relative_name(density, directory))}",
            f"open {resolution}",
        ]
    lines += [
        "volume #2 hide",
        "volume #1 style surface",
        f"color sample #1 map #2 palette {palette} outsideColor {UNRESOLVED}",
        f"key {key} pos 0.7,0.06 size 0.25,0.03 fontSize 18",
        '2dlabels text "local resolution (Å)" size 18 xpos 0.7 ypos 0.11',
        "set bgColor white",
        "lighting soft",
        "view",
    ]
    return "\n".join(lines) + "\n"


def napari_script(
    density: str | Path | None,
    locres: str | Path,
    limits: Limits,
    *,
    directory: Path,
    name: str,
    voxel_size_angstrom: tuple[float, float, float],
    origin_angstrom: tuple[float, float, float],
    heading: str = "",
) -> str:
    """Return a Python script that shows density and local resolution in napari.

    Whatever comes from file names is written as a Python literal. Parameters are those of
    `chimerax_script`; `locres` is the map with 0 outside the mask, and triples are (z, y, x).
    """
    return _TEMPLATE.format(
        heading=_docstring(heading),
        name=_docstring(name),
        density=None if density is None else repr(relative_name(density, directory)),
        locres=repr(relative_name(locres, directory)),
        voxel_size=repr(tuple(voxel_size_angstrom)),
        origin=repr(tuple(origin_angstrom)),
        limits=repr((limits.high_res, limits.low_res)),
        colours=repr([colour for _, colour in limits.pairs()]),
    )


def _docstring(text: str) -> str:
    # Neither a quote nor a backslash may end or bend the docstring.
    return comment(text).replace("\\", "/").replace('"', "'")
