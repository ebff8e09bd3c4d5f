"""All local-resolution methods on one pair of halves: who is right, and at what cost.

Usage: python benchmarks/compare_methods.py HALF1 HALF2 MASK LABELS [--folder DIR] [--only NAME ...]

LABELS holds regions 1, 2, ... in each of which the true resolution is the same. Times are processor
time of the whole command, start-up included, in seconds and in u (see common.py). "Boxes" and
"spheres" are timed by themselves as well, which is what the programs they follow are compared by.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
from common import distres, measure, table, unit_seconds

RUNS = {
    "localfsc": ("localfsc",),
    "blocres, box 21, step 3": ("blocres", "--box", "21"),
    "blocres --compat bsoft": ("blocres", "--box", "20", "--step", "4", "--compat", "bsoft"),
    "blocres --compat relion": (
        *("blocres", "--compat", "relion", "--sampling", "10"),
        *("--mask-radius", "10", "--mask-edge", "5"),
    ),
    "resmap": ("resmap",),
    "resmap --compat": ("resmap", "--compat", "resmap", "--resolution-range", "2", "9"),
    "monores": ("monores",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("half1", "half2", "mask", "labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--folder", type=Path, help="keep runs here")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="distres-compare-"))
    folder.mkdir(parents=True, exist_ok=True)
    unit = unit_seconds()
    print(f"u = {unit:.4f} s\n")
    labels = mrcfile.read(options.labels)
    rows = []
    for name in options.only:
        output = folder / name.replace(" ", "_").replace(",", "")
        command, *more = RUNS[name]
        cost = measure(
            distres(
                *(command, options.half1, options.half2, "-m", options.mask, *more),
                *("-o", output, "--overwrite", "--cluster", "none", "--no-pictures"),
                *("--device", "cpu"),
            )
        )
        rows += _rows(name, output, labels, cost.cpu_seconds, unit, cost.peak_bytes)
    heads = ("method", "threshold", "medians by region (A)", "CPU s", "u", "peak MB")
    print(table(rows, heads))
    print()
    print(table(_kernels(unit), ("kernel", "ms", "u")))


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
        found.append((name, f"{threshold:g}", " / ".join(medians), *(cost if not index else "   ")))
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
