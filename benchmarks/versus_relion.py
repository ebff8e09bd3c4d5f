"""Local resolution by distres and by RELION: processor time, and who is right.

Usage: python benchmarks/versus_relion.py [--edges 128 200] [--folder DIR]

Needs relion_postprocess (Debian: relion). RELION answers every 10 angstrom, in the whole box (its
mask does not enter), at 0.143; distres answers at every voxel of the mask, at 0.5 and 0.143.
The time that distres takes for 32^3 voxels is start-up and is subtracted; RELION's is not worth it.
"""

import argparse
import re
import shutil
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
from common import Cost, localfsc, make_blob, measure, startup, table, unit_seconds

RELION = (
    "--locres --locres_sampling 10 --locres_maskrad 10 --locres_edgwidth 5 "
    "--adhoc_bfac 0 --angpix 1"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[128, 200])
    parser.add_argument("--folder", type=Path, help="keep phantoms and runs here")
    parser.add_argument("--relion", default="relion_postprocess")
    parser.add_argument(
        "--relion-seconds",
        type=float,
        nargs="+",
        metavar="USER SYSTEM",
        help="CPU seconds measured before, two an edge: RELION is not run again",
    )
    parser.add_argument("--nice", type=int, default=0, help="niceness of RELION")
    options = parser.parse_args()
    flat = options.relion_seconds or [None] * 2 * len(options.edges)
    if len(flat) != 2 * len(options.edges):
        parser.error(f"{len(options.edges)} edges need two --relion-seconds each, not {len(flat)}")
    known = zip(flat[::2], flat[1::2], strict=True)
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        unit, base = unit_seconds(), startup(folder)
        print(f"u = {unit:.4f} s; start-up {base.cpu_seconds:.2f} s of CPU\n", flush=True)
        rows = []
        for edge, (user, system) in zip(options.edges, known, strict=True):
            volumes = make_blob(folder, edge)
            ours = measure(localfsc(volumes, folder / f"run{edge}"))
            print(f"distres {edge}^3: {ours.cpu_seconds:.2f} s", flush=True)
            compare(folder / f"run{edge}", volumes, "0.143")
            if user is None:
                theirs, points = relion(folder, volumes, options.relion, options.nice)
                user, system = theirs.user_seconds, theirs.system_seconds
                print(
                    f"RELION {edge}^3: {theirs.user_seconds:.1f} s user, "
                    f"{theirs.system_seconds:.1f} s system, {points} points, "
                    f"{theirs.peak_bytes / 1e6:.0f} MB",
                    flush=True,
                )
            rows.append(row(edge, user, system, ours, base, unit))
    heads = [
        *("volume", "RELION CPU s (u)", "distres CPU s (u)", "with start-up"),
        *("ratio", "ratio of user time"),
    ]
    print("\n" + table(rows, heads))


def row(edge: int, user: float, system: float, ours: Cost, base: Cost, unit: float) -> list[str]:
    own = ours.cpu_seconds - base.cpu_seconds
    own_user = ours.user_seconds - base.user_seconds
    theirs = user + system
    return [
        f"{edge}^3",
        f"{theirs:.0f} ({theirs / unit:.0f})",
        f"{own:.2f} ({own / unit:.0f})",
        f"{ours.cpu_seconds:.2f}",
        f"{theirs / own:.0f}",
        f"{user / own_user:.0f}",
    ]


def relion(folder: Path, volumes: dict[str, Path], program: str, nice: int) -> tuple[Cost, str]:
    """Run RELION on the same halves, under the names it wants; print medians of its map."""
    place = folder / f"relion_{volumes['half1'].parent.name}"
    place.mkdir(exist_ok=True)
    for number in (1, 2):
        name = place / f"blob_half{number}_class001_unfil.mrc"
        shutil.copy(volumes[f"half{number}"], name)
    command = [program, "--i", "blob_half1_class001_unfil.mrc", *RELION.split(), "--o", "relion"]
    cost = measure(command, cwd=place, nice=nice)
    points = re.search(r"resolution in (\d+) sampling points", cost.stdout)
    show("RELION", mrcfile.read(place / "relion_locres.mrc"), volumes, "0.143")
    return cost, points[1] if points else "?"


def compare(run: Path, volumes: dict[str, Path], threshold: str) -> None:
    """Print medians of a run of distres."""
    name = f"{volumes['half1'].stem}_localfsc_locres_t{threshold}.mrc"
    show("distres", mrcfile.read(run / name), volumes, threshold)


def show(who: str, locres: np.ndarray, volumes: dict[str, Path], threshold: str) -> None:
    labels = np.asarray(mrcfile.read(volumes["labels"]))
    truth = np.asarray(mrcfile.read(volumes[f"truth_{threshold}"]))
    for quadrant in np.unique(labels[labels > 0]):
        where = (labels == quadrant) & (locres > 0)
        true = float(np.median(truth[labels == quadrant]))
        found = float(np.median(locres[where])) if where.any() else float("nan")
        print(
            f"  {who} quadrant {int(quadrant)}: {found:.2f} A at {threshold}, true {true:.2f} "
            f"({100 * (found / true - 1):+.0f} %)"
        )


if __name__ == "__main__":
    main()
