"""A run on more workers than there are, by replaying measured costs.

Usage: python benchmarks/simulate.py [--tiles 100000] [--workers 1000] [--tile-seconds 10]
                                     [--driver-ms 1.9] [--run RUN]

Tiles take the time they took in a run (`--run`, its ledgers) or 10 s times one of 1/3 ... 5/3. One
process hands out packs and takes them back, each costing what scheduling.py measured for driver and
scheduler, and keeps the window of the real pool and the sizes of the real packer. Prints the wall
time, the share of it that workers compute, and how busy driver and scheduler are: which of the two
breaks first.
"""

import argparse
import heapq
import json
from collections import deque
from itertools import count
from pathlib import Path

import numpy as np

from distres.engine.packer import Packer
from distres.engine.pools import WINDOW
from distres.engine.tasks import Outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--tile-seconds", type=float, default=10.0)
    parser.add_argument("--driver-ms", type=float, default=1.9, help="processor time of a task")
    parser.add_argument("--run", type=Path, help="run directory whose tiles are replayed")
    options = parser.parse_args()
    costs = measured(options.run) if options.run else options.tile_seconds * np.arange(1, 6) / 3
    tiles = np.random.default_rng(0).choice(costs, options.tiles)
    wall, busy, packs = replay(tiles, options.workers, options.driver_ms / 1e3)
    print(
        json.dumps(
            {
                "tiles": options.tiles,
                "workers": options.workers,
                "mean_tile_seconds": round(float(tiles.mean()), 3),
                "packs": packs,
                "wall_seconds": round(wall, 1),
                "share_of_workers_time_in_tiles": round(
                    float(tiles.sum()) / (wall * options.workers), 3
                ),
                "share_of_time_driver_is_busy": round(busy / wall, 3),
            },
            indent=1,
        )
    )


def measured(run: Path) -> np.ndarray:
    """Return the seconds of all tiles of a run."""
    lines = [
        json.loads(line)
        for file in (run / "ledger").glob("*/tiles.jsonl")
        for line in file.read_text().splitlines()
    ]
    return np.array([line["seconds"] for line in lines if "seconds" in line])


def replay(tiles: np.ndarray, workers: int, driver_seconds: float) -> tuple[float, float, int]:
    """Return wall seconds, seconds the driver was busy, and how many packs went out."""
    packer, window, order = Packer(workers), max(WINDOW, 2 * workers), count()
    free = workers
    ready: deque[list[float]] = deque()
    running: list[tuple[float, int, list[float]]] = []
    now = busy = 0.0
    handed = pending = packs = 0
    while handed < len(tiles) or pending:
        while handed < len(tiles) and pending < window:
            size = packer.size(len(tiles) - handed)
            ready.append(list(tiles[handed : handed + size]))
            handed, pending, packs = handed + size, pending + 1, packs + 1
            # Half of a task's cost to hand it out, half to take it back.
            now, busy = now + driver_seconds / 2, busy + driver_seconds / 2
        # Workers that became free while the driver was busy wait for it.
        while ready and free:
            pack = ready.popleft()
            heapq.heappush(running, (now + sum(pack), next(order), pack))
            free -= 1
        end, _, pack = heapq.heappop(running)
        now, busy = max(now, end) + driver_seconds / 2, busy + driver_seconds / 2
        free, pending = free + 1, pending - 1
        for seconds in pack:
            packer.note(Outcome(tile=0, seconds=float(seconds)))
    return now, busy, packs


if __name__ == "__main__":
    main()
