"""Large volumes end to end: a virus capsid, and a half-map pair far beyond the workers' memory.

Usage: python benchmarks/scale.py capsid STRUCTURE [--folder DIR] [options of distres localfsc]
       python benchmarks/scale.py blob [--edge 1024] [--folder DIR] [options of distres localfsc]

For instance:
       python benchmarks/scale.py capsid 1f2n.cif.gz --workers 2 --memory 4GB
       python benchmarks/scale.py blob --edge 1024 --workers 2 --memory 2GB

The capsid is assembly 1 of the structure at 1 angstrom a voxel with all masks and pictures made by
distres itself. The blob brings its mask: tiles without mask are skipped. Both print what a dry run
said and what the run then took.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import Cost, distres, make_blob, measure, unit_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    capsid = kinds.add_parser("capsid")
    capsid.add_argument("structure", type=Path)
    blob = kinds.add_parser("blob")
    blob.add_argument("--edge", type=int, default=1024)
    for kind in (capsid, blob):
        kind.add_argument("--folder", type=Path, help="keep phantom and run here")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        if options.kind == "capsid":
            halves = make_capsid(folder, options.structure)
            run(halves, folder / "capsid_run", more)
        else:
            volumes = make_blob(folder, options.edge)
            halves = [volumes["half1"], volumes["half2"]]
            run(halves, folder / f"blob{options.edge}_run", ["-m", str(volumes["mask"]), *more])


def make_capsid(folder: Path, structure: Path) -> list[Path]:
    """Build assembly 1 with the defaults of the phantom, and say what it took."""
    place = folder / "capsid"
    cost = measure(
        distres(
            *("phantom", "model", structure, "--assembly", "1", "--voxel-size", "1"),
            *("--stem", "capsid", "--seed", "1", "-o", place, "--overwrite"),
        )
    )
    say("phantom", cost)
    return [place / "capsid_half1.mrc", place / "capsid_half2.mrc"]


def run(halves: list[Path], output: Path, more: list[str]) -> None:
    print(f"u = {unit_seconds():.4f} s", flush=True)
    command = [*distres("localfsc", *halves), *more, "-o", output, "--overwrite"]
    tried = measure([*command, "--dry-run"])
    print(tried.stdout)
    say("dry run", tried)
    say("local FSC", measure(command))
    describe(output)


def say(what: str, cost: Cost) -> None:
    workers = ", ".join(f"{peak / 1e9:.2f}" for peak in cost.worker_peak_bytes if peak > 1e8)
    print(
        f"{what}: {cost.wall_seconds:.0f} s wall, {cost.cpu_seconds:.0f} s CPU "
        f"({cost.user_seconds:.0f} user, {cost.system_seconds:.0f} system), peak memory "
        f"{cost.peak_bytes / 1e9:.2f} GB of the command, [{workers}] GB of its workers",
        flush=True,
    )


def describe(output: Path) -> None:
    """Print tiles and seconds of every pass, and the statistics."""
    for job in sorted((output / "ledger").iterdir()):
        lines = [json.loads(line) for line in (job / "tiles.jsonl").read_text().splitlines()]
        tiles = [line for line in lines if "seconds" in line]
        seconds = sum(line["seconds"] for line in tiles)
        print(f"  {job.name}: {len(tiles)} tiles, {seconds:.1f} s in tiles")
    record = json.loads((output / "run.json").read_text())
    print(json.dumps({"statistics": record["statistics"], "cost": record["cost"]}, indent=1))
    stored = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"  run directory: {stored / 1e9:.2f} GB")
    for warning in record["warnings"]:
        print(f"  warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    main()
