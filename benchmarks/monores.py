"""MonoRes: what it costs, how true it is, and what tiles change.

Usage: python benchmarks/monores.py cost [--edge 200]       half maps and single map, in u
       python benchmarks/monores.py accuracy [--edge 200]   quadrants against the known spectra
       python benchmarks/monores.py tiles [--edge 128]      cores of 64 against the whole volume
       python benchmarks/monores.py noise [--edge 96]       maps of noise alone
       python benchmarks/monores.py workers [--edge 256]    wall time of one worker and of two
       python benchmarks/monores.py oracle FOLDER           the pair that Xmipp was run on
       python benchmarks/monores.py emd MAP                 EMD-11007 as deposited, by depth

Phantoms and runs go to --folder (kept) or to a temporary one.
"""

import argparse
import json
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
from common import distres, make_blob, measure, startup, table, unit_seconds
from emd_11007 import show_depths
from predicted import predicted_resolution

LEVELS = 2  # what 20 voxels and more need
USUAL = {"cost": 200, "accuracy": 200, "tiles": 128, "noise": 96, "workers": 256}


def command(volumes: dict[str, Path], run: Path, *more: str) -> list[str | Path]:
    """Return the command line of MonoRes in one process, without pictures."""
    halves = [volumes["half1"], volumes["half2"]] if "half2" in volumes else [volumes["half1"]]
    return distres(
        *("monores", *halves, "-m", volumes["mask"], "-o", run, "--overwrite"),
        *("--no-pictures", "--device", "cpu", *more),
    )


def resolution(run: Path) -> np.ndarray:
    """Read the map of a run; NaN where there is none."""
    values = mrcfile.read(next(run.glob("*_locres.mrc"))).astype(np.float64)
    return np.where(values > 0, values, np.nan)


def single_of(volumes: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Write the mean of the halves, which stands for a single map."""
    path = folder / "mean.mrc"
    mean = (mrcfile.read(volumes["half1"]) + mrcfile.read(volumes["half2"])) / 2
    with mrcfile.new(path, data=mean.astype(np.float32), overwrite=True) as file:
        file.voxel_size = 1.0
    return {"half1": path, "mask": volumes["mask"]}


def cost(folder: Path, edge: int) -> None:
    """Processor time of whole runs, start-up apart, in the same minutes as u."""
    volumes = make_blob(folder, edge)
    base = startup(folder)
    rows = []
    for name, given, more in (
        ("half maps", volumes, ()),
        ("half maps, local noise", volumes, ("--local-noise",)),
        ("single map", single_of(volumes, folder), ("--single",)),
    ):
        unit = unit_seconds()
        found = measure(command(given, folder / "run", "--cluster", "none", *more))
        seconds = found.cpu_seconds - base.cpu_seconds
        rows.append(
            [name, f"{seconds:.1f}", f"{seconds / unit:.0f}", f"{found.peak_bytes / 1e9:.2f} GB"]
        )
    print(f"{edge}^3, start-up of {base.cpu_seconds:.1f} s subtracted")
    print(table(rows, ["input", "CPU s", "u", "peak"]))


def accuracy(folder: Path, edge: int) -> None:
    """Medians of the quadrants' cores against what their spectra say."""
    volumes = make_blob(folder, edge)
    measure(command(volumes, folder / "run", "--cluster", "none"))
    single = single_of(volumes, folder)
    measure(command(single, folder / "single", "--cluster", "none", "--single"))
    record = json.loads((folder / "run" / "run.json").read_text())
    tests = np.asarray(record["monores"]["resolutions_angstrom"])
    truth = json.loads((folder / f"blob{edge}" / "blob_truth.json").read_text())
    labels = mrcfile.read(volumes["labels"])
    frequency = np.linspace(1e-3, 0.87, 400)  # up to the corners of the grid
    maps = [resolution(folder / name) for name in ("run", "single")]
    rows = []
    for quadrant in truth["quadrants"]:
        b = quadrant["b_factor"]
        power = truth["signal_power"] * np.exp(-b * frequency**2 / 2)
        noise = truth["noise"]["sigma"] ** 2 / 2  # of the mean of two halves
        expected = predicted_resolution(tests, 1.0, LEVELS, (frequency, power), noise)[0]
        core = labels == quadrant["label"]
        found = [np.nanpercentile(values[core], [5, 50, 95]) for values in maps]
        rows.append(
            [
                f"{b:g}",
                f"{expected:.2f}",
                *(f"{p50:.2f} ({p5:.2f} to {p95:.2f})" for p5, p50, p95 in found),
                f"{quadrant['resolution_angstrom']['0.5']:.2f}",
                f"{quadrant['resolution_angstrom']['0.143']:.2f}",
            ]
        )
    print(table(rows, ["B", "predicted", "half maps", "single map", "FSC 0.5", "FSC 0.143"]))


def compared(one: np.ndarray, other: np.ndarray, step: float) -> str:
    """Say how many voxels agree."""
    both = np.isfinite(one) & np.isfinite(other)
    steps = np.abs(one - other)[both] / step
    return (
        f"{100 * np.mean(steps < 0.01):.2f} % on the same step, {100 * np.mean(steps < 1.01):.2f} "
        f"% within one, of {both.sum()} voxels that have a number in both "
        f"({np.isfinite(one).sum()} and {np.isfinite(other).sum()})"
    )


def tiles(folder: Path, edge: int) -> None:
    """Cores of 64 voxels against the whole volume."""
    volumes = make_blob(folder, edge)
    for name, core in (("whole", edge), ("tiles", 64)):
        measure(command(volumes, folder / name, "--cluster", "none", "--tile", str(core)))
    print(compared(resolution(folder / "whole"), resolution(folder / "tiles"), 0.5))


def noise(folder: Path, edge: int) -> None:
    """Share of noise voxels that get a resolution, over six seeds."""
    axis = np.arange(edge) - edge // 2
    mask = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < (0.4 * edge) ** 2
    rows = []
    for name, more in (("one threshold", ()), ("local noise", ("--local-noise",))):
        shares = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            volumes = {}
            for role in ("half1", "half2", "mask"):
                values = mask if role == "mask" else rng.standard_normal((edge,) * 3)
                volumes[role] = folder / f"noise_{role}.mrc"
                with mrcfile.new(volumes[role], values.astype(np.float32), overwrite=True) as file:
                    file.voxel_size = 1.0
            measure(command(volumes, folder / "noise", "--cluster", "none", *more))
            shares.append(float(np.isfinite(resolution(folder / "noise")[mask]).mean()))
        rows.append([name, f"{100 * np.mean(shares):.1f} %", f"{100 * np.max(shares):.1f} %"])
    print(table(rows, ["mode", "mean", "worst of six"]))


def workers(folder: Path, edge: int) -> None:
    """Wall time of one worker and of two, on the same tiles."""
    volumes = make_blob(folder, edge)
    walls = []
    for count in ("1", "2"):
        more = ("--cluster", "local", "--workers", count, "--tile", str(edge // 2))
        walls.append(measure(command(volumes, folder / f"run{count}", *more)))
        print(f"{count} workers: {walls[-1].wall_seconds:.1f} s wall", flush=True)
    print(f"ratio {walls[0].wall_seconds / walls[1].wall_seconds:.2f}")


def oracle(folder: Path, source: Path) -> None:
    """Compat mode against the program's own maps, and the default beside them."""
    files = {role: source / f"{role}.mrc.gz" for role in ("half1", "half2", "mask", "labels")}
    labels = mrcfile.read(files["labels"])
    compat = ("--cluster", "none", "--compat", "xmipp", "--resolution-range", "2", "20")
    rows = []
    mean = single_of(files, folder)
    for name, given, more in (
        ("monores_halves", files, (*compat, "--no-noise-in-mask", "--step", "0.5")),
        ("monores_halves_noise_in_mask", files, (*compat, "--step", "0.5")),
        ("monores_single", mean, (*compat, "--single", "--step", "0.5")),
        ("", files, ("--cluster", "none")),
    ):
        run = folder / (name or "default")  # a folder each: names of maps differ by input
        measure(command(given, run, *more))
        ours = resolution(run)
        medians = [f"{np.nanmedian(ours[labels == q]):.2f}" for q in (1, 2, 3, 4)]
        if name:
            theirs = mrcfile.read(source / f"{name}.mrc.gz").astype(np.float64)
            theirs[theirs == 0] = np.nan
            print(f"{name}: {compared(ours, theirs, 0.5)}")
            rows.append([name, *(f"{np.nanmedian(theirs[labels == q]):.2f}" for q in (1, 2, 3, 4))])
        rows.append([f"ours, {'compat' if name else 'default'}", *medians])
    print(table(rows, ["map", "B 40", "B 120", "B 300", "B 700"]))


def emd(folder: Path, source: Path) -> None:
    """Compute a single real map with all pictures; print medians by depth below the surface."""
    run = folder / "emd"
    more = ("--single", "--cluster", "none", "-o", run, "--overwrite")
    print(measure(distres("monores", source, *more)).stdout)
    show_depths(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*USUAL, "oracle", "emd"])
    parser.add_argument("source", type=Path, nargs="?", help="the folder blob128, or a map")
    parser.add_argument("--edge", type=int)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what in ("oracle", "emd"):
            {"oracle": oracle, "emd": emd}[options.what](folder, options.source)
        else:
            globals()[options.what](folder, options.edge or USUAL[options.what])


if __name__ == "__main__":
    main()
