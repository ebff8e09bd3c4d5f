"""What must not change the local FSC: tiles, and isotropic filters of both halves.

Usage: python benchmarks/invariance_localfsc.py [--edge 192] [--tiles 64 80 96 128]

Prints the share of masked voxels that tiles change by less than 2 percent against the whole
volume, and the quadrant medians of a blob phantom of 128^3 after both halves were filtered by
exp(-B k^2 / 4).
"""

import argparse
import json
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
from common import localfsc, make_blob, measure, table
from scipy import fft

FILTERS = (-60, 0, 60, 100, 150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=192)
    parser.add_argument("--tiles", type=int, nargs="+", default=[64, 80, 96, 128])
    parser.add_argument("--folder", type=Path, help="keep phantoms and runs here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        compare_tiles(folder, options.edge, options.tiles)
        compare_filters(folder)


def maps(run: Path) -> dict[str, np.ndarray]:
    """Return the resolution maps of a run by threshold."""
    record = json.loads((run / "run.json").read_text())
    names = record["outputs"]
    roles = ("locres", *(name for name in names if name.startswith("locres_t")))
    return {
        f"{threshold:g}": mrcfile.read(run / names[role])
        for threshold, role in zip(record["thresholds"], roles, strict=True)
    }


def compare_tiles(folder: Path, edge: int, tiles: list[int]) -> None:
    volumes = make_blob(folder, edge)
    measure(localfsc(volumes, folder / "whole", "--tile", str(edge)))
    whole = maps(folder / "whole")
    inside = mrcfile.read(volumes["mask"]) > 0
    rows = []
    for tile in tiles:
        cost = measure(localfsc(volumes, folder / "tiled", "--tile", str(tile)))
        row = [f"{tile}^3", f"{cost.cpu_seconds:.1f}"]
        for threshold, values in maps(folder / "tiled").items():
            one, other = whole[threshold][inside], values[inside]
            change = np.where((one > 0) & (other > 0), np.abs(other / np.maximum(one, 1e-6) - 1), 1)
            change[(one == 0) & (other == 0)] = 0
            row += [f"{(change < 0.02).mean():.2%}", f"{np.percentile(change, 99.9):.2%}"]
        rows.append(row)
    heads = ["core", "CPU s with start-up"]
    for threshold in whole:
        heads += [f"within 2 % at {threshold}", f"99.9th percentile at {threshold}"]
    print(f"{edge}^3 against one tile\n{table(rows, heads)}\n", flush=True)


def compare_filters(folder: Path) -> None:
    volumes = make_blob(folder, 128)
    labels = np.asarray(mrcfile.read(volumes["labels"]))
    rows = []
    for b_factor in FILTERS:
        filtered = dict(volumes)
        for role in ("half1", "half2"):
            filtered[role] = folder / f"filtered_{role}.mrc"
            write_filtered(volumes[role], filtered[role], b_factor)
        measure(localfsc(filtered, folder / "filtered"))
        row = [f"{b_factor:+d} A^2"]
        row += [
            " ".join(f"{np.median(values[labels == q]):.2f}" for q in (1, 2, 3, 4))
            for values in maps(folder / "filtered").values()
        ]
        rows.append(row)
    print(table(rows, ["B", "medians at 0.5", "medians at 0.143"]))


def write_filtered(source: Path, target: Path, b_factor: float) -> None:
    """Filter a cube with voxels of 1 angstrom; frequencies beyond Nyquist end at Nyquist's gain."""
    with mrcfile.open(source) as file:
        values, voxel = np.asarray(file.data), file.voxel_size.copy()
    axes = np.ix_(*(fft.fftfreq(n) for n in values.shape[:2]), fft.rfftfreq(values.shape[2]))
    square = np.minimum(sum(axis**2 for axis in axes), 0.25)
    spectrum = fft.rfftn(values.astype(np.float64)) * np.exp(-b_factor * square / 4)
    with mrcfile.new(target, overwrite=True) as file:
        file.set_data(fft.irfftn(spectrum, s=values.shape).astype(np.float32))
        file.voxel_size = voxel


if __name__ == "__main__":
    main()
