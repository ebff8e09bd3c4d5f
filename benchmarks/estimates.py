"""What `distres estimate` says, and what the command then takes: three jobs, one after the other.

Usage: python benchmarks/estimates.py [--folder DIR] [--workers 2] [--only NAME ...]

Prints for each job the wall time that was forecast, the wall time of the run right after it, their
ratio, what the estimate itself took, and the load of the machine (the average of a minute) at both.
Both share the machine with whatever else runs on it: where the load changes in between, the ratio
says more about that than about the forecast. The last column compares processor time instead, with
the forecast taken at the pace (processor time over wall time) that the estimate itself had.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from common import distres, make_blob, measure, table

# Edge of the volume and the command; none of them was looked at when the forecast was made.
JOBS = {
    "localfsc": (256, ["localfsc"]),
    "monores": (200, ["monores"]),
    "resmap": (160, ["resmap"]),
    "blocres": (160, ["blocres", "--box", "21"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--only", nargs="*", choices=list(JOBS), default=["localfsc", "monores", "blocres"]
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        for name in options.only:
            edge, words = JOBS[name]
            volumes = make_blob(folder, edge)
            given = [words[0], volumes["half1"], volumes["half2"], "-m", volumes["mask"]]
            given += [*words[1:], "--workers", str(options.workers), "--memory", "2GB"]
            before = os.getloadavg()[0]
            said = measure([*distres("estimate", *given), "--json"])
            found = json.loads(said.stdout[said.stdout.index("{\n") :])
            between = os.getloadavg()[0]
            took = measure(distres(*given, "-o", folder / f"run_{name}", "--overwrite"))
            # What the forecast is in processor time, at the pace that the estimate itself had.
            expected_cpu = found["seconds"] * said.cpu_seconds / said.wall_seconds
            rows.append(
                [
                    f"{name}, {edge}^3",
                    round(found["seconds"]),
                    round(took.wall_seconds),
                    f"{took.wall_seconds / found['seconds']:.2f}",
                    round(said.wall_seconds),
                    f"{before:.1f}, {between:.1f}, {os.getloadavg()[0]:.1f}",
                    f"{said.cpu_seconds:.0f}, {took.cpu_seconds:.0f}",
                    f"{took.cpu_seconds / expected_cpu:.2f}",
                ]
            )
            print(table(rows, HEADS), flush=True)


HEADS = (
    "job", "forecast s", "took s", "ratio", "estimate took s", "load before, between, after",
    "CPU s of estimate, of run", "ratio in CPU",
)  # fmt: skip


if __name__ == "__main__":
    main()
