"""How the cost of a local FSC grows with the volume.

Usage: python benchmarks/growth.py [--edges 128 160 200 256 320 400] [--folder DIR] [--repeat 1]

Blob phantoms with their own mask, one process, one thread, both default thresholds. Start-up is
the same command on 32^3 voxels, measured in the same run and subtracted.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from common import localfsc, make_blob, measure, startup, table, unit_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[128, 160, 200, 256, 320, 400])
    parser.add_argument("--folder", type=Path, help="keep phantoms and runs here")
    parser.add_argument("--repeat", type=int, default=1, help="take the least of some runs")
    parser.add_argument("--memory", help="memory of the process, for instance 2GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        report(folder, options.edges, options.repeat, options.memory)


def report(folder: Path, edges: list[int], repeat: int, memory: str | None) -> None:
    unit = unit_seconds()
    base = startup(folder)
    print(f"u = {unit:.4f} s; start-up {base.cpu_seconds:.2f} s of CPU\n")
    rows, costs = [], []
    for edge in edges:
        volumes = make_blob(folder, edge)
        command = localfsc(volumes, folder / "run", *(["--memory", memory] if memory else []))
        cost = min((measure(command) for _ in range(repeat)), key=lambda c: c.cpu_seconds)
        own = cost.cpu_seconds - base.cpu_seconds
        costs.append(own)
        rows.append(
            [
                f"{edge}^3",
                f"{own:.2f}",
                f"{own / unit:.0f}",
                f"{1e6 * own / edge**3:.2f}",
                f"{cost.peak_bytes / 1e9:.2f} GB",
                f"{cost.wall_seconds:.0f} s",
            ]
        )
        print(rows[-1], flush=True)
    heads = ["volume", "CPU s", "u", "CPU us a voxel", "peak memory", "wall, with start-up"]
    print(table(rows, heads))
    if len(edges) > 1:
        slope = np.polyfit([3 * math.log(edge) for edge in edges], np.log(costs), 1)[0]
        print(f"\nCPU grows as voxels^{slope:.2f}")


if __name__ == "__main__":
    main()
