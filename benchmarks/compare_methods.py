"""All local-resolution methods on one pair of halves: who is right, and at what cost.

Usage: python benchmarks/compare_methods.py HALF1 HALF2 MASK LABELS [--folder DIR] [--only NAME ...]
           [--symmetry I2] [--truth JSON] [--erode VOXELS]

LABELS holds regions 1, 2, ... in each of which the true resolution is the same; with --erode,
voxels near another region are left out. Times are processor time of the whole command, start-up
included, in seconds and in u (see common.py). "Boxes" and "spheres" are timed by themselves as
well, which is what the programs they follow are compared by. With --symmetry every method that can
is run a second time, on one asymmetric unit.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
from common import distres, measure, table, unit_seconds

# Lengths in voxels: of 1 angstrom in the pair that other programs were run on.
RUNS = {
    "localfsc": ("localfsc",),
    "blocres, box 21, step 3": ("blocres", "--box", "21"),
    "blocres, box 21, step 1": ("blocres", "--box", "21", "--step", "1"),
    "blocres --compat bsoft": ("blocres", "--box", "20", "--step", "4", "--compat", "bsoft"),
    "blocres --compat relion": (
        *("blocres", "--compat", "relion", "--sampling", 10.0),
        *("--mask-radius", 10.0, "--mask-edge", 5.0),
    ),
    "resmap": ("resmap",),
    "resmap --compat": ("resmap", "--compat", "resmap", "--resolution-range", 2.0, 9.0),
    "monores": ("monores",),
    "monodir": ("monodir",),
    "deepres": ("deepres", "--model", "A"),
}
WHOLE_ONLY = ("resmap --compat",)
ONE_MAP = ("deepres",)  # reads half 1
ON_REQUEST = ("blocres, box 21, step 1", "monodir", "deepres")
DEFAULT = tuple(name for name in RUNS if name not in ON_REQUEST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("half1", "half2", "mask", "labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--folder", type=Path, help="keep runs here")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(DEFAULT))
    parser.add_argument("--symmetry", help="run on one asymmetric unit of this group besides")
    parser.add_argument("--truth", type=Path, help="truth of a phantom: a row of the table")
    parser.add_argument("--erode", type=int, default=0, help="leave out voxels near other regions")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="distres-compare-"))
    folder.mkdir(parents=True, exist_ok=True)
    unit = unit_seconds()
    print(f"u = {unit:.4f} s\n")
    with mrcfile.open(options.labels) as mrc:
        labels, voxel = _cores(mrc.data, options.erode), float(mrc.voxel_size.x)
    rows = [] if options.truth is None else _truth(options.truth)
    gains = []
    for name in options.only:
        paths = [folder / name.replace(" ", "_").replace(",", "")]
        command, *more = (
            f"{part * voxel:g}" if isinstance(part, float) else part for part in RUNS[name]
        )
        ways = [(name, ())]
        if options.symmetry and name not in WHOLE_ONLY:
            ways.append((f"{name} --symmetry {options.symmetry}", ("--symmetry", options.symmetry)))
            paths.append(paths[0].with_name(paths[0].name + "_unit"))
        halves = [options.half1] if name in ONE_MAP else [options.half1, options.half2]
        costs = []
        for (title, extra), output in zip(ways, paths, strict=True):
            cost = measure(
                distres(
                    *(command, *halves, "-m", options.mask, *more, *extra),
                    *("-o", output, "--overwrite", "--cluster", "none", "--no-pictures"),
                    *("--device", "cpu"),
                )
            )
            costs.append(cost)
            found = _rows(title, output, labels, cost.cpu_seconds, unit, cost.peak_bytes)
            print(table(found, HEADS), flush=True)
            rows += found
        if len(costs) > 1:
            seconds = [cost.cpu_seconds for cost in costs]
            gains.append((name, *_alike(paths), f"{seconds[0] / seconds[1]:.1f}"))
    print()
    print(table(rows, HEADS))
    if gains:
        print()
        heads = ("copied / whole", "median", "within 2 %", "within 10 %", "times less CPU")
        print(table(gains, heads))
    print()
    print(table(_kernels(unit), ("kernel", "ms", "u")))


HEADS = ("method", "threshold", "medians by region (A)", "CPU s", "u", "peak MB")


def _cores(labels: np.ndarray, erode: int) -> np.ndarray:
    """Leave out voxels nearer than some voxels to another region, or to none."""
    from scipy.ndimage import maximum_filter, minimum_filter

    if not erode:
        return labels
    size = 2 * erode + 1
    alike = maximum_filter(labels, size) == minimum_filter(labels, size)
    return np.where(alike, labels, 0)


def _truth(path: Path) -> list[tuple[object, ...]]:
    chains = json.loads(path.read_text())["chains"]
    rows = []
    for threshold in ("0.5", "0.143"):
        true = " / ".join(f"{chain['resolution_angstrom'][threshold]:.2f}" for chain in chains)
        rows.append(("true", threshold, true, "", "", ""))
    return rows


def _alike(paths: list[Path]) -> tuple[str, str, str]:
    """Compare the first maps of two runs where both have a number."""
    maps = []
    for path in paths:
        record = json.loads((path / "run.json").read_text())
        maps.append(mrcfile.read(path / record["outputs"]["locres"]))
    both = (maps[0] > 0) & (maps[1] > 0)
    ratio = maps[1][both] / maps[0][both]
    off = np.abs(ratio - 1)
    return f"{np.median(ratio):.3f}", f"{np.mean(off < 0.02):.1%}", f"{np.mean(off < 0.1):.1%}"


def _rows(
    name: str, output: Path, labels: np.ndarray, seconds: float, unit: float, peak: int
) -> list[tuple[object, ...]]:
    record = json.loads((output / "run.json").read_text())
    found = []
    for index, threshold in enumerate(record["thresholds"]):
        role = "locres" if index == 0 else f"locres_t{threshold:g}"
        values = mrcfile.read(output / record["outputs"][role])
        medians = []
        for region in range(1, int(labels.max()) + 1):
            inside = values[labels == region]
            known = inside[inside > 0]
            share = f" ({known.size / inside.size:.0%})" if known.size < 0.995 * inside.size else ""
            medians.append(f"{np.median(known):.2f}{share}" if known.size else "none")
        cost = (f"{seconds:.1f}", f"{seconds / unit:.0f}", f"{peak / 1e6:.0f}")
        found.append((name, str(threshold), " / ".join(medians), *(cost if not index else "   ")))
    return found


def _kernels(unit: float) -> list[tuple[object, ...]]:
    """Time one box, one sphere and one voxel of ResMap's statistic."""
    import torch

    from distres.kernels.boxes import BoxDesign, hann
    from distres.kernels.boxfsc import box_fsc
    from distres.kernels.softsphere import SphereDesign, sphere_fsc
    from distres.kernels.steerable import Sinusoid, fit_gain

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)

    def block(edge: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((edge,) * 3).astype(np.float32))

    def timed(what: str, count: int, function: object) -> tuple[object, ...]:
        least = float("inf")
        for _ in range(3):
            started = time.process_time()
            function()  # type: ignore[operator]
            least = min(least, time.process_time() - started)
        each = least / count
        return what, f"{1000 * each:.5f}", f"{each / unit:.6f}"

    rows = []
    for edge, pad in ((20, 40), (21, 32)):
        window = hann(edge)
        design = BoxDesign(
            windows=(window,) * 3,
            pads=(pad,) * 3,
            voxel_size_angstrom=(1.0,) * 3,
            finest_angstrom=2.0,
        )
        for step in (1, 4):
            wanted = np.ones((12, 12, 12), bool)
            halves = [block(edge + 11 * step) for _ in "12"]
            rows.append(
                timed(
                    f"box of {edge}, padded to {pad}, step {step}",
                    wanted.size,
                    lambda h=halves, d=design, s=step, w=wanted: box_fsc(*h, d, step=s, wanted=w),
                )
            )
    sphere = SphereDesign(
        radius_angstrom=10.0, edge_angstrom=5.0, voxel_size_angstrom=1.0, shape=(128,) * 3
    )
    halves = [block(64) for _ in "12"]
    starts = rng.integers(0, 64 - 2 * sphere.reach - 1, (40, 3))
    rows.append(timed("sphere of radius 10 + 5", 40, lambda: sphere_fsc(*halves, sphere, starts)))
    wave = Sinusoid(wavelength_angstrom=6.0, voxel_size_angstrom=(1.0,) * 3)
    whole = block(102)
    rows.append(timed("ResMap's statistic, a voxel", 96**3, lambda: fit_gain(whole, wave)))
    return rows


if __name__ == "__main__":
    main()
