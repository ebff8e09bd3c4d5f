"""Tile functions of RELION's local resolution: random phases, spheres, blending."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import TileInputs, TileResult
from distres.kernels.fourier import irfftn, rfftn
from distres.kernels.randomise import randomise_phases
from distres.kernels.shells import Shells
from distres.kernels.softsphere import (
    SphereDesign,
    blend,
    corrected_curves,
    last_shell_above,
    sphere_fsc,
)
from distres.methods.localfsc_tiles import pick_device
from distres.methods.products import FLAG_NYQUIST, FLAG_OUTSIDE, FLAG_RANGE_END

NODES = "relion/nodes"
LOCRES = "locres"
FLAGS = "flags"

Parameters = Mapping[str, Any]


def random_path(half: int, draw: int) -> str:
    """Return where a half with random phases lies in the run's store; both count from 1."""
    return f"relion/random{half}/{draw}"


def design_of(parameters: Parameters) -> SphereDesign:
    """Build the sphere from its JSON form."""
    z, y, x = parameters["shape"]
    return SphereDesign(
        radius_angstrom=parameters["radius_angstrom"],
        edge_angstrom=parameters["edge_angstrom"],
        voxel_size_angstrom=parameters["voxel_angstrom"],
        shape=(z, y, x),
    )


def random_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Give both halves, whole, random phases beyond a shell: one draw, or several."""
    design = design_of(parameters)
    shells = Shells(shape=design.shape, voxel_size_angstrom=(design.voxel_size_angstrom,) * 3)
    arrays = {}
    for stream, name in enumerate(("half1", "half2")):
        block = torch.from_numpy(np.ascontiguousarray(inputs.block(name), dtype=np.float32))
        spectrum = rfftn(block)
        # The next draw changes phases that the last left random: they stay as good as new.
        for draw in range(parameters["draws"]):
            randomise_phases(
                spectrum.numpy(),
                shells,
                first_shell=parameters["first_random"],
                seed=parameters["seed"] + draw,
                stream=stream,
            )
            arrays[random_path(stream + 1, draw + 1)] = irfftn(spectrum, design.shape).numpy()
    return TileResult(arrays=arrays)


def sphere_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Find the resolution under the spheres whose centres lie in the core.

    Parameters
    ----------
    inputs
        ``half1``, ``half2``, ``random1_1``, ``random2_1`` and further draws; perhaps ``mask``:
        spheres that reach no voxel of it are left out.
    parameters
        ``shape`` (z, y, x), ``voxel_angstrom``, ``radius_angstrom``, ``edge_angstrom``,
        ``step_vox``, ``first_random``, ``draws``, ``coarsest_angstrom``, ``threshold``,
        ``device``.
    """
    tile, step = inputs.tile, parameters["step_vox"]
    design = design_of(parameters)
    counts = tuple(-(-n // step) for n in tile.core_shape)
    nodes = np.full(counts, np.nan, np.float32)
    places = np.argwhere(_wanted(inputs, parameters, design, counts))
    if len(places) == 0:
        return TileResult(arrays={NODES: nodes}, row={"spheres": np.int64(0)})
    starts = places * step
    device = pick_device(parameters["device"])

    def fsc(*names: str) -> npt.NDArray[np.float32]:
        first, second = (
            torch.from_numpy(np.pad(inputs.block(name).astype(np.float32), tile.missing)).to(device)
            for name in names
        )
        return sphere_fsc(first, second, design, starts)

    draws = range(1, parameters["draws"] + 1)
    masked = fsc("half1", "half2")
    randomised = np.mean([fsc(f"random1_{draw}", f"random2_{draw}") for draw in draws], axis=0)
    curves = corrected_curves(masked, randomised, parameters["first_random"])
    shell = last_shell_above(curves, parameters["threshold"])
    with np.errstate(divide="ignore"):
        resolution = 1 / (shell * design.width_per_angstrom)
    coarsest = parameters["coarsest_angstrom"]
    nodes[tuple(places.T)] = np.minimum(resolution, coarsest).astype(np.float32)
    return TileResult(arrays={NODES: nodes}, row={"spheres": np.int64(len(places))})


def _wanted(
    inputs: TileInputs, parameters: Parameters, design: SphereDesign, counts: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Tell which centres of the core lie in the inscribed ball and reach the mask."""
    tile, step = inputs.tile, parameters["step_vox"]
    axes = []
    for core, n in zip(tile.core, parameters["shape"], strict=True):
        axes.append(np.arange(core.start, core.stop, step) - n // 2)
    z, y, x = axes
    distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    clearance = design.radius_angstrom / design.voxel_size_angstrom
    wanted: npt.NDArray[np.bool_] = distance < min(parameters["shape"]) / 2 - clearance
    if "mask" in inputs:
        mask = np.pad(inputs.block("mask") > 0, tile.missing)
        edge = 2 * design.reach + 1
        for place in np.argwhere(wanted):
            low = place * step
            part = tuple(slice(s, s + edge) for s in low)
            wanted[tuple(place)] = bool(mask[part].any())
    return wanted


def blend_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Blend the spheres that reach a core."""
    tile, step = inputs.tile, parameters["step_vox"]
    design = design_of(parameters)
    reach, region, low = design.reach, [], []
    for core, n in zip(tile.core, inputs.sources["nodes"].shape[-3:], strict=True):
        first = max(-(-(core.start - reach) // step), 0)
        last = min((core.stop - 1 + reach) // step, n - 1)
        region.append(slice(first, last + 1))
        low.append(first * step - core.start + reach)
    nodes = inputs.sources["nodes"].read(tuple(region))
    places = np.argwhere(np.isfinite(nodes))
    values = nodes[tuple(places.T)].astype(np.float64)
    # A margin of two reaches holds every sphere whole: those in reach of the core stick out.
    starts = places * step + np.array(low)
    shape = [n + 4 * reach for n in tile.core_shape]
    whole = blend(starts, values, design, shape)
    inner = tuple(slice(2 * reach, 2 * reach + n) for n in tile.core_shape)
    found = whole[inner]
    inside = np.isfinite(found)
    if "mask" in inputs:
        inside &= inputs.core("mask") > 0
    locres = np.where(inside, found, np.float32(np.nan))[None]
    finest = 2 * design.voxel_size_angstrom * (1 + 1e-6)
    # The rule always gives a number; no sphere tells waves as long as itself from its own mask.
    width = 2 * design.radius_angstrom + design.edge_angstrom
    coarsest = min(width, parameters["coarsest_angstrom"]) * (1 - 1e-6)
    with np.errstate(invalid="ignore"):
        marks = np.where(found <= finest, FLAG_NYQUIST, 0)
        marks |= np.where(found >= coarsest, FLAG_RANGE_END, 0)
        flags = np.where(inside, marks, FLAG_OUTSIDE)
    return TileResult(arrays={LOCRES: locres, FLAGS: flags[None].astype(np.uint8)})
