"""How true the local FSC is: blob phantoms with a known local FSC, and halves of noise alone.

Run with ``python benchmarks/accuracy_localfsc.py [--edges 128 192] [--seeds 5] [--oracle FOLDER]``.
Prints one row for each phantom, quadrant and threshold (true resolution, then median and
percentiles over the quadrant's core, the voxels 12 A and more from a border between quadrants),
and a summary over seeds. Times are processor time of the method in one thread, pyramids apart.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
import zarr

from distres.engine.cluster import open_executor
from distres.engine.run import Run
from distres.io.grid import Grid
from distres.kernels.phantom import blob_halves
from distres.kernels.resample import halve_volume
from distres.methods.localfsc import run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters, levels_wanted

PARAMETERS = LocalFscParameters()
# The fixed pair's own truth, from the power of its atoms in shells.
ORACLE_TRUTH = {0.5: (2.352, 4.065, 6.406, 9.747), 0.143: (2.0, 3.326, 5.258, 8.032)}


@dataclass(frozen=True)
class Memory:
    """A source that is an array."""

    data: np.ndarray

    @property
    def shape(self):
        """Return the array's shape."""
        return self.data.shape

    def read(self, region):
        """Return a region."""
        return self.data[region]

    def identity(self):
        """Say what decides the content."""
        return {"sum": float(self.data.sum(dtype=np.float64))}


def pyramid(half, levels):
    found = [half]
    for _ in range(levels - 1):
        found.append(halve_volume(found[-1]))
    return [Memory(level) for level in found]


def measure(half1, half2, mask):
    """Return the resolutions (threshold, z, y, x) and the processor seconds they took."""
    grid = Grid(shape=half1.shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    levels = levels_wanted(grid, PARAMETERS)
    first, second = pyramid(half1, levels), pyramid(half2, levels)
    with (
        tempfile.TemporaryDirectory() as folder,
        Run.open(Path(folder) / "run") as run,
        open_executor("none") as executor,
    ):
        before = time.process_time()
        result = run_localfsc(
            first,
            second,
            grid,
            run,
            executor,
            PARAMETERS,
            mask=None if mask is None else Memory(mask.astype(np.float32)),
        )
        seconds = time.process_time() - before
        return np.asarray(zarr.open_array(run.store, path=result.locres)[...]), seconds


def report(name, locres, labels, truth, seconds, errors):
    for threshold, values in zip(PARAMETERS.thresholds, locres, strict=True):
        for quadrant in (1, 2, 3, 4):
            core = values[labels == quadrant]
            # What has no number counts as coarser than everything.
            p5, median, p95 = np.percentile(np.where(np.isfinite(core), core, np.inf), (5, 50, 95))
            true = truth[threshold][quadrant - 1]
            error = 100 * (median / true - 1)
            errors[threshold, quadrant].append(error)
            print(
                f"{name:>12} {threshold:>6} {quadrant} {true:6.2f} {median:6.2f} {p5:6.2f} "
                f"{p95:6.2f} {error:+6.1f} {seconds:6.2f}",
                flush=True,
            )


def summarise(title, errors):
    print(f"\n{title}: error of the median in percent, mean, deviation and worst")
    for (threshold, quadrant), values in errors.items():
        worst = max(values, key=abs)
        print(
            f"  {threshold:>6} quadrant {quadrant}: {np.mean(values):+.1f} "
            f"{np.std(values):.1f} {worst:+.1f}"
        )
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[128, 192])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=201)
    parser.add_argument("--oracle", type=Path, help="folder with the fixed pair of half maps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # The first call loads libraries and fills tables.
    measure(*np.random.default_rng(0).standard_normal((2, 48, 48, 48), np.float32), None)
    print("        what    FSC q   true median     p5    p95    [%]  CPU s")
    if arguments.oracle:
        half1, half2, mask, labels = (
            np.array(mrcfile.read(arguments.oracle / f"{name}.mrc.gz"))
            for name in ("half1", "half2", "mask", "labels")
        )
        locres, seconds = measure(half1, half2, mask > 0)
        report("fixed pair", locres, labels, ORACLE_TRUTH, seconds, defaultdict(list))
    for edge in arguments.edges:
        errors = defaultdict(list)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            phantom = blob_halves((edge,) * 3, seed=seed)
            truth = {
                t: [phantom.truth.resolution_angstrom(q, t) for q in (1, 2, 3, 4)]
                for t in PARAMETERS.thresholds
            }
            locres, seconds = measure(phantom.half1, phantom.half2, phantom.mask)
            report(f"{edge}^3 {seed}", locres, phantom.labels, truth, seconds, errors)
        summarise(f"{edge}^3, {arguments.seeds} seeds", errors)
    for edge in arguments.edges:
        for seed in range(2 * arguments.seeds):
            halves = np.random.default_rng(seed).standard_normal((2, edge, edge, edge), np.float32)
            locres, _ = measure(*halves, None)
            never = ", ".join(
                f"{100 * np.isnan(values).mean():.1f} % at {threshold}"
                for threshold, values in zip(PARAMETERS.thresholds, locres, strict=True)
            )
            print(f"noise {edge}^3 {seed}: never above {never}", flush=True)


if __name__ == "__main__":
    main()
