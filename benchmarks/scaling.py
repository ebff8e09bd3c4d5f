"""Weak and strong scaling of the local FSC from one worker to two: wall and processor time.

Usage: python benchmarks/scaling.py [--edge 256] [--tile 96] [--rounds 3] [--folder DIR]

Strong: the same volume on one and on two workers. Weak: half of the volume (half as many sections,
cut from the same files) on one worker against the whole on two. All runs have the same tiles, no
pictures, and take turns. `passes` is what the busiest worker spent in tiles of the method's own
passes, without what one process does before, between and after. Prints medians, the efficiency that
follows (1 is perfect), and the load of the machine: with other programs on its processors the
second worker has less than one of them, and wall times say so.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median

import mrcfile
from common import distres, make_blob, measure, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--tile", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        whole = make_blob(folder, options.edge)
        cases = {
            "whole, 1 worker": (whole, 1),
            "whole, 2 workers": (whole, 2),
            "half, 1 worker": (halved(whole, folder / "half"), 1),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        for _ in range(options.rounds):
            for name, (volumes, workers) in cases.items():
                found[name].append(run(volumes, workers, options.tile, folder / "run"))
        print(f"load {os.getloadavg()[0]:.1f}")
        report(found)


def halved(volumes: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Cut the middle half of the sections out of both halves and the mask."""
    folder.mkdir(exist_ok=True)
    made = {}
    for role in ("half1", "half2", "mask"):
        made[role] = folder / f"middle_{role}.mrc"
        with mrcfile.mmap(volumes[role]) as file:
            depth = file.data.shape[0]
            part, voxel = file.data[depth // 4 : depth - depth // 4], file.voxel_size.x
            with mrcfile.new(made[role], part, overwrite=True) as out:
                out.voxel_size = voxel
    return made


def run(volumes: dict[str, Path], workers: int, tile: int, output: Path) -> dict[str, float]:
    cost = measure(
        distres(
            *("localfsc", volumes["half1"], volumes["half2"], "-m", volumes["mask"]),
            *("-o", output, "--overwrite", "--no-pictures", "--device", "cpu"),
            *("--cluster", "local", "--workers", str(workers), "--tile", str(tile)),
        )
    )
    seconds = 0.0
    for file in (output / "ledger").glob("localfsc*/tiles.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        # A worker computes one tile at a time: the busiest says how long the pass was.
        busy: dict[str, float] = {}
        for line in lines:
            busy[line["process"]] = busy.get(line["process"], 0.0) + line["seconds"]
        seconds += max(busy.values())
    return {"wall": cost.wall_seconds, "cpu": cost.cpu_seconds, "passes": seconds}


def report(found: dict[str, list[dict[str, float]]]) -> None:
    middle = {
        name: {key: median(one[key] for one in rounds) for key in ("wall", "passes", "cpu")}
        for name, rounds in found.items()
    }
    rows = [[name, *(f"{value:.1f}" for value in each.values())] for name, each in middle.items()]
    print(table(rows, ["", "wall s", "passes s", "CPU s"]))
    one, two, half = (middle[name] for name in found)
    for key in ("wall", "passes"):
        print(f"strong scaling, {key}: {one[key] / two[key] / 2:.2f}")
        print(f"weak scaling, {key}: {half[key] / two[key]:.2f}")


if __name__ == "__main__":
    main()
