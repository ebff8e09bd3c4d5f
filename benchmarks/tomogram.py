r"""A tomogram of any size end to end: made, computed within a memory budget, and accounted for.

Usage: python benchmarks/tomogram.py [--shape X Y Z] [--method localfsc|monotomo] [--workers 2]
                                     [--memory 2GB] [--folder DIR] [options of the method]

For instance the size of a whole tomogram, 17 GB of input (hours on two cores):
       python benchmarks/tomogram.py --shape 2048 2048 512 --method monotomo --memory 2GB \
         --resolution-range 20 60 --step 8 --folder /data/tomogram

Even and odd halves are written section by section, so that no size needs memory: globules of
structure in a slab, with noise that grows towards its faces. Prints wall and processor time, peak
memory of every process, bytes read and written by all processes a voxel against the least that any
program could (each half read once, each result written once), and a forecast for 4096 x 4096 x 2048
voxels. The forecast scales the time of tiles by voxels and divides by workers; it is a forecast.
"""

import argparse
import json
import sys
import tempfile
import threading
from math import prod
from pathlib import Path

import mrcfile
import numpy as np
import psutil
from common import distres, measure, unit_seconds
from scipy.ndimage import gaussian_filter

VOXEL_ANGSTROM = 5.0
SLAB = 32
LARGE_VOX = 4096 * 4096 * 2048
LARGE_WORKERS = (1, 16, 256)
# Below this, starting processes is most of the time and of the bytes, and nothing is forecast.
SMALLEST_VOX = 256**3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shape", type=int, nargs=3, default=(128, 128, 64), metavar=("X", "Y", "Z")
    )
    parser.add_argument("--method", choices=("localfsc", "monotomo"), default="localfsc")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--folder", type=Path, help="keep halves and run here")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        shape = tuple(reversed(options.shape))
        halves = [folder / "tomogram_even.mrc", folder / "tomogram_odd.mrc"]
        if not all(half.exists() for half in halves):
            write_halves(halves, shape)
        command = ["tomo", "monotomo"] if options.method == "monotomo" else ["localfsc"]
        words = [*distres(*command, *halves), *more, "--cluster", "local"]
        words += ["--workers", str(options.workers), "--memory", options.memory]
        print(f"u = {unit_seconds():.4f} s", flush=True)
        with Traffic() as traffic:
            cost = measure([*words, "-o", folder / "run", "--overwrite"])
        report(folder / "run", shape, options.workers, cost, traffic)


def write_halves(files: list[Path], shape: tuple[int, int, int]) -> None:
    """Stream two halves with one structure: a few sections are in memory at a time."""
    depth, height, width = shape
    opened = [mrcfile.new_mmap(f, shape=shape, mrc_mode=2, overwrite=True) for f in files]
    for first in range(0, depth, SLAB):
        last = min(first + SLAB, depth)
        signal = globules(first, last, (height, width))
        # Noise grows towards the faces of the slab.
        z = (np.arange(first, last, dtype=np.float32) - depth / 2) / (depth / 2)
        sigma = (0.3 + 1.2 * z**2)[:, None, None]
        for half, file in enumerate(opened):
            rng = np.random.default_rng([first, half])
            noise = rng.standard_normal(signal.shape, dtype=np.float32)
            file.data[first:last] = signal + sigma * noise
    for file in opened:
        file.voxel_size = VOXEL_ANGSTROM
        file.set_volume()
        file.close()


def globules(first: int, last: int, plane: tuple[int, int]) -> np.ndarray:
    """Smooth random density of sections `first` to `last`, the same wherever slabs are cut."""
    reach = 8
    rows = [
        np.random.default_rng([7, z]).standard_normal(plane, dtype=np.float32)
        for z in range(first - reach + 10**6, last + reach + 10**6)
    ]
    return 4 * gaussian_filter(np.stack(rows), 1.2, mode="wrap")[reach:-reach]


class Traffic:
    """Bytes that this program's children read from and wrote to files, while it is entered."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    counts = process.io_counters()
                    key = process.pid, process.create_time()
                except (psutil.Error, OSError):
                    continue
                # Characters, not blocks: what was asked of the file system, cached or not.
                self._seen[key] = counts.read_chars, counts.write_chars

    @property
    def read_bytes(self) -> int:
        """Read by all processes."""
        return sum(read for read, _ in self._seen.values())

    @property
    def written_bytes(self) -> int:
        """Written by all processes."""
        return sum(written for _, written in self._seen.values())


def report(run: Path, shape: tuple[int, int, int], workers: int, cost, traffic: Traffic) -> None:
    voxels = prod(shape)
    record = json.loads((run / "run.json").read_text())
    maps = sum(file.stat().st_size for file in run.glob("*.mrc"))
    stored = sum(p.stat().st_size for p in (run / "run.zarr").rglob("*") if p.is_file())
    seconds = tile_seconds(run)
    result = {
        "shape": list(reversed(shape)),
        "workers": workers,
        "wall_seconds": round(cost.wall_seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_gb_command": round(cost.peak_bytes / 1e9, 2),
        "peak_gb_workers": [round(p / 1e9, 2) for p in cost.worker_peak_bytes if p > 1e8],
        "read_bytes_per_voxel": round(traffic.read_bytes / voxels, 1),
        "least_read_bytes_per_voxel": 8.0,
        "written_bytes_per_voxel": round(traffic.written_bytes / voxels, 1),
        "least_written_bytes_per_voxel": round(maps / voxels, 1),
        "work_store_bytes_per_voxel": round(stored / voxels, 1),
        "tile_seconds": round(seconds, 1),
        "seconds_outside_tiles": round(cost.wall_seconds - seconds / workers, 1),
    }
    if voxels >= SMALLEST_VOX:
        result["forecast_hours_4096x4096x2048"] = {
            str(n): round(forecast_hours(seconds, cost.wall_seconds, voxels, workers, n), 1)
            for n in LARGE_WORKERS
        }
    print(json.dumps(result, indent=1))
    for warning in record["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def tile_seconds(run: Path) -> float:
    total = 0.0
    for file in (run / "ledger").glob("*/tiles.jsonl"):
        total += sum(json.loads(line).get("seconds", 0) for line in file.read_text().splitlines())
    return total


def forecast_hours(
    seconds: float, wall: float, voxels: int, measured_workers: int, workers: int
) -> float:
    """Scale tiles by voxels over workers, and what one process does (export, counts) by voxels."""
    alone = max(wall - seconds / measured_workers, 0.0)
    return LARGE_VOX / voxels * (seconds / workers + alone) / 3600


if __name__ == "__main__":
    main()
