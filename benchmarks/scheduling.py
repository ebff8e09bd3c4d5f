"""What scheduling costs: many tiles that do nothing.

Usage: python benchmarks/scheduling.py [--tiles 100000] [--workers 2] [--no-packing]

Prints time per tile, processor time of driver and scheduler (one process here), and how their
resident memory grows from the first tenth of the run to its end.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import psutil

from distres.engine import runner
from distres.engine.cluster import open_executor
from distres.engine.jobs import TileInputs, TileJob, TileResult
from distres.engine.packer import Packer
from distres.engine.progress import Progress
from distres.engine.run import Run
from distres.engine.tiles import TilePlan


def nothing(inputs: TileInputs, parameters: object) -> TileResult:
    """Return one number."""
    return TileResult(row={"index": inputs.tile.index})


class MemoryTrace:
    """Notes the driver's resident memory as the job goes on."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []

    def __call__(self, progress: Progress) -> None:
        """Note where the job is."""
        share = progress.done / max(progress.total, 1)
        self.points.append((share, psutil.Process().memory_info().rss))

    def at(self, share: float) -> int:
        """Return the memory nearest to a share of the tiles."""
        return min(self.points, key=lambda point: abs(point[0] - share))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-packing", action="store_true", help="one task a tile")
    options = parser.parse_args()
    if options.no_packing:
        Packer.most = 1
    trace = MemoryTrace()
    plan = TilePlan(shape=(1, 1, options.tiles), core=(1, 1, 1), halo=(0, 0, 0))
    job = TileJob(name="nothing", plan=plan, function=nothing, inputs={})
    with (
        tempfile.TemporaryDirectory() as place,
        open_executor(
            "local", workers=options.workers, memory_bytes=10**9, watcher=trace
        ) as executor,
        Run.open(Path(place) / "run") as run,
    ):
        used = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        table = runner.run_job(job, run=run, executor=executor)
        wall = time.perf_counter() - started
        now = resource.getrusage(resource.RUSAGE_SELF)
        ledger = sum(p.stat().st_size for p in run.ledger_directory("nothing").iterdir())
        files = len(list(run.ledger_directory("nothing").iterdir()))
    assert int(table.sum("index")) == options.tiles * (options.tiles - 1) // 2
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(
        json.dumps(
            {
                "tiles": options.tiles,
                "workers": options.workers,
                "packing": not options.no_packing,
                "wall_ms_per_tile": round(1e3 * wall / options.tiles, 3),
                "driver_and_scheduler_cpu_ms_per_tile": round(1e3 * cpu / options.tiles, 3),
                "driver_memory_mb_at_10_percent": round(trace.at(0.1) / 1e6, 1),
                "driver_memory_mb_at_end": round(trace.at(1.0) / 1e6, 1),
                "ledger_bytes_per_tile": round(ledger / options.tiles, 1),
                "ledger_files": files,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
