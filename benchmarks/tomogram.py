r"""A tomogram of any size end to end: made, computed within a memory budget, and accounted for.

Usage: python benchmarks/tomogram.py [--shape X Y Z] [--method localfsc|monotomo] [--workers 2]
                                     [--memory 2GB] [--folder DIR] [--convert]
                                     [options of the method]

For instance the size of a whole tomogram, 17 GB of input (an hour on two cores):
       python benchmarks/tomogram.py --shape 2048 2048 512 --convert --folder /data/tomogram \
         --resolution-range 32 128 --threshold 0.5

Even and odd halves are written section by section, so that no size needs memory: smooth random
density, the same in both, in noise that grows towards the faces of a slab; and a mask, the middle
of the slab. With --convert each half becomes OME-Zarr (`distres convert`, accounted for) before the
next is made and its MRC file is removed: the run then uses it where it lies, and the disk never
holds a half twice. Prints for every command wall and processor time, peak memory of every process,
bytes read and written a voxel against the least that any program could (each half read once, each
result written once), and a forecast for 4096 x 4096 x 2048 voxels. The forecast scales the time of
tiles by voxels and divides by workers; it is a forecast.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import mrcfile
import numpy as np
import psutil
from common import Cost, distres, measure, unit_seconds
from scipy.ndimage import gaussian_filter

VOXEL_ANGSTROM = 2.0
SLAB = 32
# Density repeats after this many voxels along every axis; noise does not.
PERIOD = 512
STRUCTURE_SIGMA_VOX = 3.0
# The mask: this middle part of the slab.
MASK_FRACTION = 0.6
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
    parser.add_argument("--convert", action="store_true", help="convert the halves first")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        shape = tuple(reversed(options.shape))
        say(f"u = {unit_seconds():.4f} s")
        resources = ["--cluster", "local", "--workers", str(options.workers)]
        resources += ["--memory", options.memory]
        *halves, mask = (folder / f"tomogram_{name}.mrc" for name in ("even", "odd", "mask"))
        steps = []
        for half in halves:
            if not (half.exists() or half.with_suffix(".zarr").exists()):
                write_half(half, shape)
            if options.convert and half.exists():
                words = distres("convert", half, half.with_suffix(".zarr"), *resources)
                steps.append(take(f"convert {half.name}", words))
                half.unlink()
        if not mask.exists():
            write_mask(mask, shape)
        inputs = [half if half.exists() else half.with_suffix(".zarr") for half in halves]
        command = ["tomo", "monotomo"] if options.method == "monotomo" else ["localfsc"]
        words = [*distres(*command, *inputs, "-m", mask), *more, *resources]
        # What an earlier try has done is taken over, and is then missing from the account.
        words += ["-o", folder / "run"]
        words += ["--resume"] if (folder / "run").exists() else []
        steps.append(take(options.method, words))
        report(folder / "run", shape, options.workers, steps)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def write_half(file: Path, shape: tuple[int, int, int]) -> None:
    """Stream a half: the density of both, and noise of its own that grows towards the faces."""
    started = time.process_time()
    density = structure(tuple(min(n, PERIOD) for n in shape))
    repeats = [-(-n // PERIOD) for n in shape[1:]]
    with mrcfile.new_mmap(file, shape=shape, mrc_mode=2, overwrite=True) as opened:
        for first in range(0, shape[0], SLAB):
            sections = np.arange(first, min(first + SLAB, shape[0]))
            depth = (sections - shape[0] / 2) / (shape[0] / 2)
            rng = np.random.default_rng([first, file.stem.endswith("odd")])
            block = rng.standard_normal((len(sections), *shape[1:]), dtype=np.float32)
            block *= (1 + 4 * depth.astype(np.float32) ** 2)[:, None, None]
            for values, section in zip(block, sections, strict=True):
                values += np.tile(density[section % PERIOD], repeats)[: shape[1], : shape[2]]
            opened.data[sections[0] : sections[-1] + 1] = block
        opened.voxel_size = VOXEL_ANGSTROM
        opened.set_volume()
    say(f"{file.name} made in {time.process_time() - started:.0f} s of processor time")


def structure(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth random density that repeats at the faces of its box."""
    white = np.random.default_rng(7).standard_normal(shape, dtype=np.float32)
    return 4 * gaussian_filter(white, STRUCTURE_SIGMA_VOX, mode="wrap", truncate=3)


def write_mask(file: Path, shape: tuple[int, int, int]) -> None:
    """Stream a mask of 0 and 1 in one byte a voxel."""
    margin = round(shape[0] * (1 - MASK_FRACTION) / 2)
    with mrcfile.new_mmap(file, shape=shape, mrc_mode=0, overwrite=True) as opened:
        for section in range(margin, shape[0] - margin):
            opened.data[section] = 1
        opened.voxel_size = VOXEL_ANGSTROM
        opened.set_volume()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command and what it took."""

    name: str
    cost: Cost
    read_bytes: int
    written_bytes: int

    def as_json(self, voxels: int) -> dict[str, object]:
        """Return what is reported, bytes for one voxel of the tomogram."""
        return {
            "command": self.name,
            "wall_seconds": round(self.cost.wall_seconds, 1),
            "cpu_seconds": round(self.cost.cpu_seconds, 1),
            "user_seconds": round(self.cost.user_seconds, 1),
            "peak_gb_command": round(self.cost.peak_bytes / 1e9, 2),
            "peak_gb_workers": [round(p / 1e9, 2) for p in self.cost.worker_peak_bytes if p > 1e8],
            "read_bytes_per_voxel": round(self.read_bytes / voxels, 1),
            "written_bytes_per_voxel": round(self.written_bytes / voxels, 1),
        }


def take(name: str, words: list[str | Path]) -> Step:
    """Run a command to its end."""
    say(" ".join(map(str, words)))
    with Traffic() as traffic:
        cost = measure(words)
    say(f"{name} took {cost.wall_seconds:.0f} s, {cost.cpu_seconds:.0f} s of processor time")
    print(cost.stdout, flush=True)
    return Step(
        name=name,
        cost=cost,
        read_bytes=traffic.read_bytes,
        written_bytes=traffic.written_bytes,
    )


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


def report(run: Path, shape: tuple[int, int, int], workers: int, steps: list[Step]) -> None:
    voxels = prod(shape)
    record = json.loads((run / "run.json").read_text())
    maps = sum(file.stat().st_size for file in run.glob("*.mrc"))
    stored = sum(p.stat().st_size for p in (run / "run.zarr").rglob("*") if p.is_file())
    seconds = tile_seconds(run)
    wall = steps[-1].cost.wall_seconds
    result = {
        "shape": list(reversed(shape)),
        "workers": workers,
        "steps": [step.as_json(voxels) for step in steps],
        "least_read_bytes_per_voxel": 8.0,
        "least_written_bytes_per_voxel": round(maps / voxels, 1),
        "work_store_bytes_per_voxel": round(stored / voxels, 1),
        "tile_seconds_of_the_run": round(seconds, 1),
        "seconds_outside_tiles": round(wall - seconds / workers, 1),
    }
    if voxels >= SMALLEST_VOX:
        result["forecast_hours_4096x4096x2048"] = {
            str(n): round(forecast_hours(seconds, wall, voxels, workers, n), 1)
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
