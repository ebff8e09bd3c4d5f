"""Local FSC of a real map, EMD-11007, whose halves are SIMULATED.

Usage: python benchmarks/emd_11007.py MAP [--noise 3] [--cut 3.3] [--seed 0] [--folder emd_11007]

The deposited map stands for what both halves share. To each half independent Gaussian noise is
added whose spectrum is that of the map's own solvent, `--noise` times as strong: the shell power of
the map outside a wide mask. So nothing here measures the resolution of EMD-11007. What can be seen
is whether parts that are sharp in a real map, with real density, come out better than blurred ones.

Noise of the map itself is shared by both halves and looks like signal: where there is nothing
else the FSC is 1 / (1 + noise^2). It must lie below the lowest threshold, hence the factor 3. The
map was low-passed at 3.2 angstrom, half maps are not: beyond `--cut` the noise keeps the power it
has there.

Afterwards it runs `distres mask` and `distres localfsc` with all pictures.
"""

import argparse
import gzip
import json
import shutil
import sys
from pathlib import Path

import mrcfile
import numpy as np
from common import distres, measure, table
from scipy import fft, ndimage

# Solvent begins this far, in angstrom, outside the automatic mask; then a soft edge.
MARGIN_ANGSTROM = 8
EDGE_ANGSTROM = 8
# Solvent ends softly at the faces of the box too, or its spectrum would leak.
TAPER_VOX = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("map", type=Path)
    parser.add_argument("--noise", type=float, default=3.0, help="times the solvent's own")
    parser.add_argument("--cut", type=float, default=3.3, help="where the map ends, in angstrom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("emd_11007"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    halves = make_halves(
        options.map, options.folder, factor=options.noise, cut=options.cut, seed=options.seed
    )
    measure(distres("mask", *halves, "-o", options.folder / "mask", "--overwrite"))
    mask = next((options.folder / "mask").glob("*_mask.mrc"))
    run = options.folder / "localfsc"
    cost = measure(distres("localfsc", *halves, "-m", mask, "-o", run, "--overwrite"))
    print(cost.stdout)
    print(f"{cost.cpu_seconds:.1f} s of CPU with start-up and pictures")
    show_depths(run)


def make_halves(source: Path, folder: Path, *, factor: float, cut: float, seed: int) -> list[Path]:
    """Write map + noise 1 and map + noise 2 with the header of the map."""
    outside = solvent_window(source, folder)
    rng = np.random.default_rng(seed)
    paths = []
    for number in (1, 2):
        path = folder / f"emd_11007_simulated_half{number}.map"
        copy_plain(source, path)
        with mrcfile.open(path, mode="r+") as file:
            values = np.asarray(file.data, np.float32)
            frequency, power = shell_power(values, outside)
            end = int(np.searchsorted(frequency, float(file.voxel_size.x) / cut))
            power[end:] = power[end]
            noise = coloured_noise(values.shape, (frequency, power), rng) * factor
            file.set_data(values + noise.astype(np.float32))
        paths.append(path)
    solvent = values[outside > 0.99]
    print(
        f"solvent of the map: SD {solvent.std():.3f} in {solvent.size} voxels; noise added to "
        f"each half: SD {noise.std():.3f}"
    )
    return paths


def copy_plain(source: Path, target: Path) -> None:
    """Copy a map, unpacked if need be, so that its header stays what it was."""
    unpacked = gzip.open if source.suffix == ".gz" else open
    with unpacked(source, "rb") as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain)


def solvent_window(source: Path, folder: Path) -> np.ndarray:
    """Return 1 in the solvent and 0 in the particle and at the faces, in the order of the file."""
    wide = folder / "wide_mask.mrc"
    wide.unlink(missing_ok=True)
    measure(
        distres(
            *("mask", source, "--single", "-o", wide),
            *("--dilate", str(MARGIN_ANGSTROM), "--edge", str(EDGE_ANGSTROM)),
        )
    )
    with mrcfile.open(source, header_only=True) as file:
        header = file.header
        # Masks come as (z, y, x); axis 3 of a header is z.
        order = [3 - int(axis) for axis in (header.maps, header.mapr, header.mapc)]
    outside = 1 - mrcfile.read(wide).transpose(order)
    for axis, n in enumerate(outside.shape):
        place = np.minimum(np.arange(n), np.arange(n)[::-1])
        ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(place / TAPER_VOX, 0, 1))
        outside = outside * ramp.reshape([-1 if i == axis else 1 for i in range(3)])
    return outside.astype(np.float32)


def shell_power(values: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in cycles per voxel and the power of the solvent there, per voxel."""
    mean = float((values * window).sum() / window.sum())
    square = np.abs(fft.rfftn((values - mean) * window)) ** 2 / float((window**2).sum())
    radius = radii(values.shape)
    shells = max(values.shape) // 2
    index = np.minimum((radius * 2 * shells).astype(int), shells)
    count = np.bincount(index.ravel(), minlength=shells + 1)
    power = np.bincount(index.ravel(), square.ravel(), minlength=shells + 1) / np.maximum(count, 1)
    return (np.arange(shells + 1) + 0.5) / (2 * shells), power


def coloured_noise(
    shape: tuple[int, ...], spectrum: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Return Gaussian noise of a spectrum."""
    frequency, power = spectrum
    amplitude = np.sqrt(np.interp(radii(shape), frequency, power))
    white = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    return fft.irfftn(white * amplitude, s=shape)


def radii(shape: tuple[int, ...]) -> np.ndarray:
    """Return the frequency of every coefficient of the half transform."""
    z, y, x = shape
    axes = np.ix_(fft.fftfreq(z), fft.fftfreq(y), fft.rfftfreq(x))
    return np.sqrt(sum(axis**2 for axis in axes))


def show_depths(run: Path) -> None:
    """Print medians by the distance from the surface of the mask."""
    record = json.loads((run / "run.json").read_text())
    inside = mrcfile.read(run / record["outputs"]["mask"]) > 0.5
    depth = ndimage.distance_transform_edt(inside) * record["grid"]["voxel_size_angstrom"][0]
    rows = []
    for low, high in ((0, 5), (5, 10), (10, 15), (15, 20), (20, 100)):
        where = (depth > low) & (depth <= high)
        row = [f"{low}-{high} A", int(where.sum())]
        for role in record["outputs"]:
            if role.startswith("locres") and role != "locres_fill":
                values = mrcfile.read(run / record["outputs"][role])[where]
                resolved = values[values > 0]
                row += [f"{np.median(resolved):.2f}", f"{len(resolved) / len(values):.1%}"]
        rows.append(row)
    heads = ["depth", "voxels"]
    for threshold in record["thresholds"]:
        heads += [f"median at {threshold:g}", "resolved"]
    print(table(rows, heads))


if __name__ == "__main__":
    sys.exit(main())
