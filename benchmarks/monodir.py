"""The experiments of the MonoDir paper on phantoms, and what MonoDir costs.

Usage: python benchmarks/monodir.py [--folder DIR] [--directions 81] [--edge 128] [--pictures DIR]
           [--only CASE ...]
       python benchmarks/monodir.py --cost HALF1 HALF2 MASK
       python benchmarks/monodir.py --quadrants FOLDER
       python benchmarks/monodir.py --tiles FOLDER

A ball of random atoms is averaged over many copies. Each copy is turned by a random vector whose
three components have the angular error as standard deviation, and shifted alike by the shift error;
both halves have copies of their own and white noise. A missing cone is cut out of signal and noise
alike, as particles that were never seen leave it. Runs in the folder are not computed again.

--cost runs one pair of 128^3 voxels and tells MonoRes, which runs beside it, from MonoDir. FOLDER
holds half1, half2, mask and labels of a blob of 128^3 voxels, as .mrc.gz: --quadrants prints the
medians of each part, --tiles what cores of 64 voxels change with 46 directions.
"""

import argparse
import json
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import scipy.fft
import zarr
from common import distres, measure, startup, table, unit_seconds
from matplotlib import image
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

COPIES = 200
RADIUS_SHARE = 0.36
ATOMS_PER_VOXEL = 0.02
ATOM_B = 30.0
NOISE = 0.35  # of the density's standard deviation in the ball
MISSING_DEGREES = 40.0
CASES = {
    "no errors": {},
    "missing cone of 40 degrees": {"missing": True},
    "shifts of 1 voxel": {"shift": 1.0},
    "angles of 0.6 degrees": {"angle": 0.6},
    "angles of 1.2 degrees": {"angle": 1.2},
    "angles of 1.8 degrees": {"angle": 1.8},
    "angles of 2.4 degrees": {"angle": 2.4},
}
# What the docs show side by side, by what a run calls it.
PICTURES = {
    "directions": ("monodir_polar.png", ("no errors", "missing cone of 40 degrees")),
    "profiles": (
        "monodir_profiles.png",
        ("no errors", "shifts of 1 voxel", "angles of 1.2 degrees"),
    ),
}
HEADS = ("case", "highest", "ADR", "lowest", "radial", "tangential", "slope radial", "tangential")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep phantoms and runs here")
    parser.add_argument("--directions", default="81")
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=CASES, help="these cases")
    parser.add_argument("--pictures", type=Path, help="write the pictures of the docs here")
    parser.add_argument("--cost", nargs=3, type=Path, metavar=("HALF1", "HALF2", "MASK"))
    parser.add_argument("--quadrants", type=Path, metavar="FOLDER")
    parser.add_argument("--tiles", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="distres-monodir-"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.cost:
        cost(folder, options.cost)
        return
    for task, source in ((quadrants, options.quadrants), (tiles, options.tiles)):
        if source:
            task(folder, source)
            return
    runs: dict[str, Path] = {}
    for name, errors in CASES.items():
        if options.only and name not in options.only:
            continue
        place = folder / name.replace(" ", "_")
        phantom(place, options.edge, **errors)
        runs[name] = place / "run"
        if (runs[name] / "run.json").exists():
            continue
        measure(
            distres(
                *("monodir", place / "half1.mrc", place / "half2.mrc", "-m", place / "mask.mrc"),
                *("-o", runs[name], "--overwrite", "--cluster", "none", "--device", "cpu"),
                *("--directions", options.directions),
            )
        )
        print(f"{name}: done", flush=True)
    rows = [(name, *summary(run)) for name, run in runs.items()]
    print("\nMedians in angstrom; slopes in angstrom of resolution per angstrom of radius.\n")
    print(table(rows, HEADS))
    print(f"\n{preferred(runs)}")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for kind, (name, cases) in PICTURES.items():
            if runs.keys() >= set(cases):
                beside([runs[c] for c in cases], kind, options.pictures / name)


def phantom(
    place: Path, edge: int, *, angle: float = 0.0, shift: float = 0.0, missing: bool = False
) -> None:
    """Write half1, half2 and mask of a ball of atoms, 1 angstrom a voxel."""
    if (place / "mask.mrc").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    radius = RADIUS_SHARE * edge
    axis = np.arange(edge) - edge // 2
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2
    cube = rng.uniform(-radius, radius, (int(ATOMS_PER_VOXEL * (2 * radius) ** 3), 3))
    atoms = cube[np.linalg.norm(cube, axis=1) < radius]
    u = np.meshgrid(*[scipy.fft.fftfreq(edge)] * 3, indexing="ij", sparse=True)
    norm = np.sqrt(sum(a * a for a in u))
    kept = np.abs(u[0]) <= np.cos(np.radians(MISSING_DEGREES)) * norm if missing else 1.0
    level = None
    for number in (1, 2):
        density = averaged(atoms, edge, np.radians(angle), shift, rng)
        density = scipy.fft.ifftn(scipy.fft.fftn(density) * np.exp(-ATOM_B / 4 * norm**2)).real
        if level is None:
            # The noise of all cases is that of the case without errors.
            reference = averaged(atoms, edge, 0.0, 0.0, rng)
            spectrum = scipy.fft.fftn(reference) * np.exp(-ATOM_B / 4 * norm**2)
            level = NOISE * scipy.fft.ifftn(spectrum).real[ball].std()
        noisy = density + level * rng.standard_normal(density.shape)
        write(place / f"half{number}.mrc", scipy.fft.ifftn(scipy.fft.fftn(noisy) * kept).real)
    write(place / "mask.mrc", ball)


def averaged(
    atoms: np.ndarray, edge: int, angle: float, shift: float, rng: np.random.Generator
) -> np.ndarray:
    """Average copies of atoms (n, 3) that are turned and shifted at random."""
    copies = COPIES if angle or shift else 1
    total = np.zeros(edge**3)
    for _ in range(copies):
        turn = Rotation.from_rotvec(angle * rng.standard_normal(3))
        places = turn.apply(atoms) + shift * rng.standard_normal(3) + edge // 2
        low = np.floor(places).astype(int)
        share = places - low
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, share, 1 - share), axis=1)
            index = np.ravel_multi_index(tuple((low + corner).T), (edge,) * 3)
            total += np.bincount(index, weight, minlength=edge**3)
    return total.reshape((edge,) * 3) / copies


def write(path: Path, values: np.ndarray) -> None:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = 1.0


def summary(run: Path) -> list[str]:
    """Return medians of maps and slopes of a run."""
    record = json.loads((run / "run.json").read_text())
    found = []
    for name in ("highest", "adr", "lowest", "radial", "tangential"):
        values = mrcfile.read(run / record["outputs"][name])
        found.append(f"{np.median(values[values > 0]):.2f}")
    for name in ("radial", "tangential"):
        line = record["monodir"]["profiles"]["lines"][name]
        found.append(f"{line['slope']:+.4f} ± {line['slope_error']:.4f}")
    return found


def preferred(runs: dict[str, Path]) -> str:
    """Say how many voxels prefer directions near z, where a missing cone lies, and away from it."""
    lines = []
    for name, run in runs.items():
        record = json.loads((run / "run.json").read_text())
        rows = record["monodir"]["preferred_directions"]
        tilt, share = (np.array([row[k] for row in rows]) for k in ("tilt_degrees", "share"))
        parts = [
            f"{low}-{high} degrees {100 * share[(tilt >= low) & (tilt < high)].mean():.1f} %"
            for low, high in ((0, 20), (20, 40), (40, 60), (60, 91))
        ]
        lines.append(f"{name}: mean share of a direction by angle from z: {', '.join(parts)}")
    return "\n".join(lines)


def beside(runs: list[Path], kind: str, path: Path) -> None:
    """Put the pictures of runs side by side."""
    pictures = [image.imread(next(run.glob(f"*_{kind}.png"))) for run in runs]
    width = sum(p.shape[1] for p in pictures) / max(p.shape[0] for p in pictures)
    figure = Figure(figsize=(4.2 * width, 4.2), layout="constrained")
    for place, (picture, run) in enumerate(zip(pictures, runs, strict=True), 1):
        axes = figure.add_subplot(1, len(pictures), place)
        axes.imshow(picture)
        axes.set_title(run.parent.name.replace("_", " "), fontsize=10)
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def cost(folder: Path, paths: list[Path]) -> None:
    """Say what MonoDir costs, start-up and MonoRes taken off."""
    half1, half2, mask = paths
    unit = unit_seconds()
    common = ("-m", mask, "--overwrite", "--cluster", "none", "--no-pictures", "--device", "cpu")
    begin = startup(folder).cpu_seconds
    rows = []
    for name, extra in (
        ("monodir, 81 directions", ("monodir", half1, half2)),
        ("monodir, 46 directions", ("monodir", half1, half2, "--directions", "46")),
        ("monores", ("monores", half1, half2)),
    ):
        found = measure(distres(*extra, *common, "-o", folder / "cost"))
        rows.append((name, found.cpu_seconds, found.cpu_seconds - begin, found.peak_bytes))
    cells = [
        (name, f"{total:.1f} ({total / unit:.0f})", f"{net:.1f} ({net / unit:.0f})", peak >> 20)
        for name, total, net, peak in rows
    ]
    print(f"u = {unit:.4f} s, start-up {begin:.1f} s\n")
    print(table(cells, ("command", "CPU s (u)", "without start-up", "peak MB")))
    for name, _, net, _ in rows[:2]:
        print(f"{name}, without MonoRes and start-up: {(net - rows[2][2]) / unit:.0f} u")


def run_pair(source: Path, run: Path, *more: str) -> dict:
    """Run the pair of a folder on one processor; return the record."""
    half1, half2, mask = (source / f"{role}.mrc.gz" for role in ("half1", "half2", "mask"))
    common = ("-m", mask, "--overwrite", "--cluster", "none", "--no-pictures", "--device", "cpu")
    measure(distres("monodir", half1, half2, *common, "-o", run, *more))
    return json.loads((run / "run.json").read_text())


def quadrants(folder: Path, source: Path) -> None:
    """Print the medians of each quadrant."""
    run = folder / "quadrants"
    record = run_pair(source, run)
    labels = mrcfile.read(source / "labels.mrc.gz")
    rows = []
    for name in ("highest", "adr", "lowest", "monores"):
        values = mrcfile.read(run / record["outputs"][name])
        parts = (values[(labels == q) & (values > 0)] for q in (1, 2, 3, 4))
        rows.append([name, *(f"{np.median(part):.2f}" for part in parts)])
    print(table(rows, ["map", "B 40", "B 120", "B 300", "B 700"]))


def tiles(folder: Path, source: Path) -> None:
    """Cores of 64 voxels against one tile: each direction at each point, and the maps."""
    found = {}
    for name, core in (("whole", "128"), ("tiles", "64")):
        more = ("--directions", "46", "--keep-directions", "--tile", core)
        record = run_pair(source, folder / name, *more)
        store = zarr.open_group(folder / name / "run.zarr", mode="r")
        arrays = {"each direction": record["monodir"]["directional"]} | {
            role: record["arrays"][role]
            for role in ("radial", "tangential", "adr", "anisotropy", "highest", "lowest")
        }
        found[name] = {role: np.asarray(store[path]) for role, path in arrays.items()}
        # Of single directions tests are counted, as if all were half a voxel apart.
        tests = np.array(record["monodir"]["resolutions_angstrom"])[::-1]
        place = np.interp(found[name]["each direction"], tests, np.arange(len(tests)))
        found[name]["each direction"] = 0.5 * place
    rows = []
    for role, one in found["whole"].items():
        away = np.abs(one - found["tiles"][role])
        away = away[np.isfinite(away)]
        # The finest step is half a voxel of 1 angstrom.
        limits = (0.01, 0.25, 0.5001)
        rows.append([role, *(f"{100 * np.mean(away < limit):.2f} %" for limit in limits)])
    print(table(rows, ["what", "same", "less than half a step", "one step or less"]))


if __name__ == "__main__":
    main()
