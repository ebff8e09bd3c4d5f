"""MonoTomo: what it costs, how true it is, what tiles change, a real tomogram, a large one.

Usage: python benchmarks/monotomo.py cost                       320 x 320 x 128, in u
       python benchmarks/monotomo.py accuracy                   medians of tiles against the spectra
       python benchmarks/monotomo.py tiles                      cores of 80 against the whole
       python benchmarks/monotomo.py stride                     every voxel against every second
       python benchmarks/monotomo.py kernel                     one test of the finest, in u
       python benchmarks/monotomo.py real emd_1155.map.gz       a real tomogram, SIMULATED halves
       python benchmarks/monotomo.py scale [--shape 1024,1024,512] [--step 16]
                                                                --memory 2GB, two workers

The phantom is `distres phantom slab`: particles in ice, a missing wedge, and noise that grows from
the middle to the sides, to the top and to the bottom. Its halves' true spectra are known.

The real tomogram has no halves: independent white noise, four times as strong as the tomogram
itself, is added to it twice. So nothing here measures the resolution of that tomogram. What can be
seen is whether dense, detailed parts come out better than the void, and whether depth, table and
pictures work.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import torch
from common import Cost, distres, measure, startup, table, unit_seconds
from monores import compared, resolution
from predicted import predicted_resolution
from scipy import ndimage

from distres.kernels.monogenic import Band, monogenic_amplitude
from distres.kernels.monores import plan_levels, smoothed_amplitude
from distres.kernels.monores_noise import FIELD_INDEPENDENT
from distres.kernels.riesz import riesz_block
from distres.kernels.wedge import Wedge

VOXEL = 8.0
NOISE = 4.0  # of the real tomogram's simulated halves, over its standard deviation
EDGE = 32  # of the tiles whose medians are compared
USUAL = {
    "cost": "320,320,128",
    "accuracy": "320,320,128",
    "tiles": "192,192,96",
    "stride": "192,192,96",
    "kernel": "336,336,144",
}


def slab(folder: Path, shape: str) -> Path:
    """Make the phantom unless it is there."""
    place = folder / f"slab_{shape.replace(',', '_')}"
    if not (place / "slab_truth.json").exists():
        measure(distres("phantom", "slab", "--shape", shape, "-o", place, "--overwrite"))
    return place


def monotomo(halves: list[Path], run: Path, *more: str) -> Cost:
    """Run the command, without pictures."""
    return measure(
        distres(
            *("tomo", "monotomo", *halves, "-o", run, "--overwrite"),
            *("--no-pictures", "--device", "cpu", *more),
        )
    )


def halves_of(place: Path) -> list[Path]:
    return [place / f"slab_{half}.mrc" for half in ("even", "odd")]


def cost(folder: Path, shape: str) -> None:
    """Processor time of whole runs, start-up apart."""
    place, base = slab(folder, shape), startup(folder)
    rows = []
    for name, more in (
        ("defaults, 37 tests", ("--tilt-range", "-60", "60")),
        ("step of a voxel, 19 tests", ("--tilt-range", "-60", "60", "--step", "8")),
        ("every voxel decided, 37 tests", ("--tilt-range", "-60", "60", "--stride", "1")),
    ):
        unit = unit_seconds()
        found = monotomo(halves_of(place), folder / "run", "--cluster", "none", *more)
        seconds = found.cpu_seconds - base.cpu_seconds
        rows.append(
            [name, f"{seconds:.1f}", f"{seconds / unit:.0f}", f"{found.peak_bytes / 1e9:.2f} GB"]
        )
    print(f"{shape}, start-up of {base.cpu_seconds:.1f} s subtracted")
    print(table(rows, ["run", "CPU s", "u", "peak"]))


def accuracy(folder: Path, shape: str) -> None:
    """Median of each tile's particle voxels against what the spectra predict."""
    place = slab(folder, shape)
    monotomo(halves_of(place), folder / "run", "--cluster", "none", "--tilt-range", "-60", "60")
    truth = json.loads((place / "slab_truth.json").read_text())
    record = json.loads((folder / "run" / "run.json").read_text())
    tests = np.asarray(record["monotomo"]["resolutions_angstrom"])
    step = float(tests[0] - tests[1])
    found = resolution(folder / "run")
    labels, deviation = (mrcfile.read(place / f"slab_{r}.mrc") for r in ("labels", "noise_sd"))
    core = ndimage.binary_erosion(labels == 2, iterations=3)
    medians, noises, resolved = [], [], []
    for start in np.ndindex(*(-(-n // EDGE) for n in core.shape)):
        part = tuple(slice(EDGE * s, EDGE * s + EDGE) for s in start)
        here = core[part]
        border = any(
            s.start < EDGE // 4 or s.stop > n - EDGE // 4
            for s, n in zip(part[1:], core.shape[1:], strict=True)
        )
        if here.sum() < 200 or border:
            continue
        values = found[part][here]
        medians.append(float(np.nanmedian(values)))
        resolved.append(float(np.isfinite(values).mean()))
        sd = float(np.median(deviation[part][here]))
        # Power among measured frequencies, of the mean of two halves.
        noises.append(sd**2 / truth["measured_fraction"] / 2)
    curve = truth["signal_power"]
    signal = (np.asarray(curve["frequency_per_angstrom"]), np.asarray(curve["power"]))
    expected = predicted_resolution(
        tests, VOXEL, 2, signal, noises, Wedge(), stride=2, independent=FIELD_INDEPENDENT
    )
    off = (np.array(medians) - expected) / step
    print(
        f"{len(off)} tiles, noise power from {min(noises):.3g} to {max(noises):.3g}; predicted "
        f"{np.nanmin(expected):.1f} to {np.nanmax(expected):.1f} A; within one step of {step:g} A: "
        f"{100 * np.mean(np.abs(off) < 1.01):.1f} %; difference in steps: median "
        f"{np.median(off):.2f}, 5 to 95 % {np.percentile(off, 5):.2f} to "
        f"{np.percentile(off, 95):.2f}; {100 * np.mean(resolved):.1f} % of the voxels resolved"
    )
    print(f"depth: {record['monotomo']['depth']}, true sections {truth['ice_sections']}")


def tiles(folder: Path, shape: str) -> None:
    """Cores of 80 voxels against the whole, in particles, with a mask, and everywhere."""
    place = slab(folder, shape)
    found = {}
    for name, core in (("whole", max(map(int, shape.split(",")))), ("tiles", 80)):
        more = ("--cluster", "none", "--tilt-range", "-60", "60", "--tile", str(core))
        monotomo(halves_of(place), folder / name, *more)
        found[name] = resolution(folder / name)
    labels = mrcfile.read(place / "slab_labels.mrc")
    step = VOXEL / 2
    for name, where in (
        ("particles", labels == 2),
        ("ice between them", labels == 1),
        ("void", labels == 0),
        ("all", labels >= 0),
    ):
        print(f"{name}: {compared(found['whole'][where], found['tiles'][where], step)}")


def stride(folder: Path, shape: str) -> None:
    """Every voxel decided against every second one, in particles."""
    place = slab(folder, shape)
    found = []
    for step in ("1", "2"):
        more = ("--cluster", "none", "--tilt-range", "-60", "60", "--stride", step)
        monotomo(halves_of(place), folder / f"stride{step}", *more)
        found.append(resolution(folder / f"stride{step}"))
    particle = mrcfile.read(place / "slab_labels.mrc") == 2
    places = np.zeros_like(particle)
    places[::2, ::2, ::2] = True
    for name, where in (("particles", particle), ("places decided", particle & places)):
        medians = ", ".join(f"{np.nanmedian(values[where]):.1f}" for values in found)
        print(f"{name}: medians {medians} A; {compared(*(v[where] for v in found), VOXEL / 2)}")


def kernel(_: Path, shape: str) -> None:
    """Amplitude and smoothing of a test of a whole grid, by the stride of its places."""
    x, y, z = map(int, shape.split(","))
    noise = np.random.default_rng(0).standard_normal((z, y, x), dtype=np.float32)
    riesz = riesz_block(torch.from_numpy(noise), (1.0,) * 3)
    unit, rows = unit_seconds(), []
    for step in (1, 2):
        (tests,) = plan_levels(np.array([4.0, 3.0]), (1.0,) * 3, 1, step)
        frequency, box = tests.frequencies[1], tests.lattice(riesz.shape)
        band = Band.octave(frequency, tests.ramp)
        amplitude, both = (
            least_seconds(one) / unit
            for one in (
                partial(monogenic_amplitude, riesz, band, samples=box),
                partial(smoothed_amplitude, riesz, frequency, tests, box),
            )
        )
        rows.append([str(step), f"{amplitude:.2f}", f"{both - amplitude:.2f}"])
    print(table(rows, ["stride", "amplitude, u", "smoothing, u"]))


def least_seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the least processor time of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def real(folder: Path, source: Path) -> None:
    """Compute a real tomogram with simulated halves, all pictures drawn."""
    values = mrcfile.read(source).astype(np.float32)
    with mrcfile.open(source, header_only=True) as file:
        voxel = float(file.voxel_size.x)
    rng = np.random.default_rng(0)
    paths = []
    for half in ("even", "odd"):
        noisy = values + NOISE * values.std() * rng.standard_normal(values.shape, dtype=np.float32)
        paths.append(folder / f"{source.name.split('.')[0]}_simulated_{half}.mrc")
        with mrcfile.new(paths[-1], noisy.astype(np.float32), overwrite=True) as file:
            file.voxel_size = voxel
    run = folder / "real"
    done = measure(
        distres(
            *("tomo", "monotomo", *paths, "-o", run, "--overwrite"),
            *("--beam-axis", "y", "--tilt-axis", "x", "--cluster", "none"),
        )
    )
    print(done.stdout)
    found = resolution(run)
    # Strength of detail that the tomogram itself has, at about the median resolution.
    detail = ndimage.gaussian_filter(values, 1) - ndimage.gaussian_filter(values, 3)
    local = np.sqrt(ndimage.gaussian_filter(detail**2, 3))
    rows = []
    edges = np.percentile(local, [0, 25, 50, 75, 90, 100])
    for name, low, high in zip(
        ("weakest quarter", "second", "third", "75 to 90 %", "strongest tenth"),
        edges[:-1], edges[1:], strict=True,
    ):  # fmt: skip
        here = found[(local >= low) & (local <= high)]
        rows.append([name, f"{np.nanmedian(here):.1f}", f"{100 * np.isfinite(here).mean():.0f} %"])
    print(table(rows, ["local detail", "median A", "resolved"]))


def scale(folder: Path, shape: str, step: str) -> None:
    """Compute a large pair within 2 GB a worker."""
    place = slab(folder, shape)
    found = monotomo(
        halves_of(place),
        folder / "large",
        *("--workers", "2", "--memory", "2GB", "--tilt-range", "-60", "60", "--step", step),
    )
    peaks = ", ".join(f"{peak / 1e9:.2f} GB" for peak in found.worker_peak_bytes[:2])
    print(
        f"{shape}, step {step} A: {found.cpu_seconds:.0f} s CPU, {found.wall_seconds / 60:.1f} min "
        f"wall; peak of the workers {peaks}, of the command {found.peak_bytes / 1e9:.2f} GB"
    )
    print(found.stdout[-1500:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*USUAL, "real", "scale"])
    parser.add_argument("source", type=Path, nargs="?", help="for real: the tomogram")
    parser.add_argument("--shape", help="x,y,z in voxels")
    parser.add_argument("--step", default="16", help="for scale: angstrom between tests")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "real":
            real(folder, options.source)
        elif options.what == "scale":
            scale(folder, options.shape or "1024,1024,512", options.step)
        else:
            globals()[options.what](folder, options.shape or USUAL[options.what])


if __name__ == "__main__":
    main()
