"""Tile functions of ResMap: noise spectrum, whitening, noise variance, statistic, decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import TileInputs, TileResult
from distres.engine.tiles import Tile
from distres.kernels.discovery import TailBins, count_places
from distres.kernels.masks import bounds
from distres.kernels.steerable import Sinusoid, fit_gain, noise_variances, window_gains
from distres.kernels.whitening import SPECTRUM_BINS, NoiseFit, radial_power, whiten
from distres.methods.localfsc_tiles import pick_device
from distres.methods.products import FLAG_BORDER, FLAG_NEVER_ABOVE, FLAG_OUTSIDE

MEAN = "resmap/mean"
NOISE = "resmap/noise"
LEVEL = "resmap/noise_level"
LOCRES = "locres"
FLAGS = "flags"

WHITENING_HALO = 16
# Noise is averaged in cells of this many voxels, then over a ball of cells around each.
CELL_VOX = 8
CELL_REACH = 4
CUBE_VOX = 48

Parameters = Mapping[str, Any]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


def places_path(scale: int) -> str:
    """Return where the places of one wavelength lie in the run's store."""
    return f"resmap/places/{scale}"


def sinusoid_of(parameters: Parameters, wavelength: float) -> Sinusoid:
    """Build window and basis of one wavelength."""
    return Sinusoid(
        wavelength_angstrom=wavelength,
        voxel_size_angstrom=_spacing(parameters),
        kappa=parameters["kappa"],
    )


def _tensor(values: npt.NDArray[Any], parameters: Parameters) -> torch.Tensor:
    clean = np.nan_to_num(np.ascontiguousarray(values, dtype=np.float32))
    return torch.from_numpy(clean).to(pick_device(parameters["device"]))


def _spacing(parameters: Parameters) -> tuple[float, float, float]:
    dz, dy, dx = parameters["spacing_angstrom"]
    return dz, dy, dx


def _raw(inputs: TileInputs) -> tuple[Float32, Float32]:
    """Return signal and noise of the block: half sum and half difference, or the map for both."""
    if "map" in inputs:
        block = inputs.block("map")
        return block, block
    half = np.float32(0.5)
    first, second = inputs.block("half1") * half, inputs.block("half2") * half
    return first + second, first - second


def _noisy(inputs: TileInputs, mask: Float32) -> Bool:
    """Where only noise is read: everywhere in half differences, in a single map the solvent."""
    return mask <= 0 if "map" in inputs else np.ones(mask.shape, bool)


def spectrum_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum the power of noise over cubes that begin in the core.

    Cubes lie on a grid of the whole volume. In half differences those that touch the mask count,
    in a single map those that hold none of it.
    """
    edge = parameters["cube_vox"]
    _, noise = _raw(inputs)
    mask = inputs.block("mask")
    total = np.zeros((2, SPECTRUM_BINS))
    touched = _windows(inputs.tile, (edge,) * 3, mask > 0).any(axis=(1, 2, 3))
    cubes = _windows(inputs.tile, (edge,) * 3, noise)
    for cube in cubes[~touched if "map" in inputs else touched]:
        total += radial_power(_tensor(cube, parameters)[None], _spacing(parameters))
    return TileResult(row={"power": total[0], "counts": total[1]})


def whiten_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Store signal and noise, whitened if there is a fit, and the noise power per cell."""
    tile = inputs.tile
    mean, noise = _raw(inputs)
    known = _noisy(inputs, inputs.core("mask"))
    whitened = [_whitened(values, tile, parameters)[tile.crop] for values in (mean, noise)]
    arrays = {
        MEAN: np.ascontiguousarray(whitened[0]),
        NOISE: np.ascontiguousarray(whitened[1]),
        LEVEL: _cells(np.where(known, whitened[1] ** 2, 0), known),
    }
    return TileResult(arrays=arrays)


def _whitened(values: Float32, tile: Tile, parameters: Parameters) -> Float32:
    if parameters["fit"] is None:
        return np.asarray(values, np.float32)
    fit = parameters["fit"]
    c0, c1, c2 = fit["coefficients"]
    model = NoiseFit(
        coefficients=(c0, c1, c2),
        elbow=fit["elbow"],
        nyquist_per_angstrom=fit["nyquist_per_angstrom"],
        limit=fit["limit"],
    )
    padded = np.pad(values, tile.missing, mode="reflect")
    flat = whiten(_tensor(padded, parameters), model, _spacing(parameters), parameters["strength"])
    inner = tuple(
        slice(before, n - after)
        for n, (before, after) in zip(padded.shape, tile.missing, strict=True)
    )
    result: Float32 = flat.cpu().numpy()[inner]
    return result


def _cells(power: npt.NDArray[Any], known: Bool) -> Float32:
    """Sum power and count voxels per cell: (2, z, y, x) float32."""
    sums = [np.asarray(power, np.float64), known.astype(np.float64)]
    for axis in range(3):
        starts = np.arange(0, power.shape[axis], CELL_VOX)
        sums = [np.add.reduceat(s, starts, axis=axis) for s in sums]
    return np.stack(sums).astype(np.float32)


def variance_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum the noise variance of every wavelength over windows that begin in the core.

    Two sums each: over windows that lie wholly where noise is read and, in half differences, in
    the mask; and over those whose centre does, for masks too small to hold a window.
    """
    noise, mask = inputs.block("noise"), inputs.block("mask")
    relative = _noise_level(inputs, inputs.tile.read, parameters)
    usable = mask <= 0 if parameters["single"] else mask > 0
    sums = np.zeros((len(parameters["wavelengths"]), 4))
    for row, wavelength in zip(sums, parameters["wavelengths"], strict=True):
        s = sinusoid_of(parameters, wavelength)
        rz, ry, rx = s.radius
        edges = (2 * rz + 1, 2 * ry + 1, 2 * rx + 1)
        good = _windows(inputs.tile, edges, usable)
        centred = good[:, rz, ry, rx]
        whole = good.all(axis=(1, 2, 3))
        level = _windows(inputs.tile, edges, relative)[:, rz, ry, rx]
        cut = _windows(inputs.tile, edges, noise)
        for place, chosen in ((0, whole), (2, centred & ~whole)):
            if chosen.any():
                windows = cut[chosen] / np.sqrt(level[chosen])[:, None, None, None]
                values = _variances(_tensor(windows, parameters), s, parameters)
                row[place : place + 2] = values.sum(), len(values)
    return TileResult(row={"sums": sums})


def _variances(
    windows: torch.Tensor, sinusoid: Sinusoid, parameters: Parameters
) -> npt.NDArray[np.float64]:
    """Noise variance of each window: of all its noise as published, else of what the test sees."""
    if parameters["published"]:
        return noise_variances(windows, sinusoid, published=True)
    found: npt.NDArray[np.float64] = window_gains(windows, sinusoid) / sinusoid.null_weights.sum()
    return found


def _windows(tile: Tile, edges: tuple[int, int, int], block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut the windows of the volume's grid that begin in the core: (n, edges)."""
    part, counts = [], []
    for core, read, edge, n in zip(tile.core, tile.read, edges, block.shape, strict=True):
        first = -(-core.start // edge) * edge - read.start
        begin = -(-(core.stop - read.start - first) // edge)
        count = max(min(begin, (n - first) // edge), 0)
        part.append(slice(first, first + count * edge))
        counts.append(count)
    (nz, ny, nx), (ez, ey, ex) = counts, edges
    cut = block[tuple(part)].reshape(nz, ez, ny, ey, nx, ex)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, ez, ey, ex)


def statistic_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Compute one wavelength's statistic where nothing finer was found; keep and count places."""
    tile, scale = inputs.tile, parameters["scale"]
    left = _inside(inputs, parameters) & ~_called(inputs, parameters["decided"])
    places = np.zeros(tile.core_shape, np.uint16)
    if left.any():
        box = bounds(left)
        s = sinusoid_of(parameters, parameters["wavelengths"][scale])
        block = np.pad(inputs.block("mean"), tile.missing, mode="reflect")
        # The padded block begins one radius before the core.
        wide = tuple(slice(b.start, b.stop + 2 * r) for b, r in zip(box, s.radius, strict=True))
        gain = fit_gain(_tensor(block[wide], parameters), s).cpu().numpy()
        region = [
            slice(c.start + b.start, c.start + b.stop) for c, b in zip(tile.core, box, strict=True)
        ]
        variance = parameters["variances"][scale] * _noise_level(inputs, region, parameters)
        found = TailBins(first=parameters["first"]).place(gain / variance.astype(np.float32))
        places[box] = np.where(left[box], found, 0)
    row = {"counts": count_places(places[left]), "tested": np.int64(left.sum())}
    return TileResult(arrays={places_path(scale): places}, row=row)


def _called(inputs: TileInputs, decided: Sequence[int | None]) -> Bool:
    """Tell which voxels of the core a finer wavelength was found at."""
    called = np.zeros(inputs.tile.core_shape, bool)
    for scale, place in enumerate(decided):
        if place is not None:
            called |= inputs.core(f"places_{scale}") >= place
    return called


def _inside(inputs: TileInputs, parameters: Parameters) -> Bool:
    """Tell which voxels of the core are tested."""
    inside = inputs.core("mask") > 0
    for axis, (core, n) in enumerate(zip(inputs.tile.core, parameters["shape"], strict=True)):
        place = np.arange(core.start, core.stop)
        clear = (place >= parameters["margin_vox"]) & (place < n - parameters["margin_vox"])
        inside &= clear.reshape([-1 if a == axis else 1 for a in range(3)])
    return inside


def _noise_level(inputs: TileInputs, region: Sequence[slice], parameters: Parameters) -> Float32:
    """Return the local noise power over its mean, at every voxel of a region; 1 without levels.

    Cells are averaged over a Hann window of cells around each, then interpolated between their
    centres; the cells read depend on the region alone, so all tiles agree.
    """
    shape = tuple(s.stop - s.start for s in region)
    if parameters["level_mean"] is None:
        return np.ones(shape, np.float32)
    source = inputs.sources["level"]
    counts = source.shape[-3:]
    part, bands = [], []
    for s, n in zip(region, counts, strict=True):
        centre = (np.arange(s.start, s.stop) + 0.5) / CELL_VOX - 0.5
        centre = np.clip(centre, 0, n - 1)
        low, high = int(centre[0]), min(int(centre[-1]) + 1, n - 1)
        first, last = max(low - CELL_REACH, 0), min(high + CELL_REACH, n - 1)
        part.append(slice(first, last + 1))
        cells = np.arange(first, last + 1)
        between = np.clip(1 - np.abs(centre[:, None] - np.arange(low, high + 1)), 0, None)
        distance = np.abs(np.arange(low, high + 1)[:, None] - cells)
        hann = np.where(distance <= CELL_REACH, 1 + np.cos(np.pi * distance / (CELL_REACH + 1)), 0)
        bands.append(between @ hann)
    power, number = source.read(tuple(part)).astype(np.float64)
    smooth = [_apply(values, bands) for values in (power, number)]
    known = smooth[1] > 0
    level = np.where(known, smooth[0] / np.where(known, smooth[1], 1), parameters["level_mean"])
    floor = 1e-3 * parameters["level_mean"]
    result: Float32 = (np.maximum(level, floor) / parameters["level_mean"]).astype(np.float32)
    return result


def _apply(values: npt.NDArray[np.float64], matrices: Sequence[npt.NDArray[np.float64]]) -> Any:  # noqa: ANN401
    for axis, matrix in enumerate(matrices):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return values


def level_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum the noise power over the mask: what local levels are relative to."""
    usable = inputs.core("mask") > 0
    if parameters["single"]:
        usable = ~usable
    values = inputs.core("noise")[usable].astype(np.float64)
    return TileResult(row={"power": np.float64(np.dot(values, values)), "count": len(values)})


def decision_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Give every voxel the finest wavelength that was found at it."""
    tile = inputs.tile
    inside = _inside(inputs, parameters)
    locres = np.full((1, *tile.core_shape), np.nan, np.float32)
    for scale, place in reversed(list(enumerate(parameters["decided"]))):
        if place is not None:
            found = inside & (inputs.core(f"places_{scale}") >= place)
            locres[0][found] = parameters["wavelengths"][scale]
    flags = np.full(locres.shape, FLAG_OUTSIDE, np.uint8)
    flags[0][inside] = np.where(np.isnan(locres[0][inside]), FLAG_NEVER_ABOVE, 0)
    flags[0][inside & _near_border(tile, locres[0], parameters)] |= FLAG_BORDER
    return TileResult(arrays={LOCRES: locres, FLAGS: flags})


def _near_border(tile: Tile, locres: Float32, parameters: Parameters) -> Bool:
    """Tell where the window of the wavelength found reaches past a face of the volume."""
    half = np.nan_to_num(locres, nan=max(parameters["wavelengths"])) / 2
    near = np.zeros(locres.shape, bool)
    facts = zip(tile.core, parameters["shape"], parameters["spacing_angstrom"], strict=True)
    for axis, (core, n, step) in enumerate(facts):
        place = np.arange(core.start, core.stop)
        distance = np.minimum(place, n - 1 - place) * step
        near |= distance.reshape([-1 if a == axis else 1 for a in range(3)]) < half
    return near
