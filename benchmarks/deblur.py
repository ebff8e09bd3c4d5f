"""LocalDeblur: its cost against Xmipp's program, and how large it goes.

Usage:
    python benchmarks/deblur.py cost --oracle FOLDER
    python benchmarks/deblur.py scale [--edge 1024] [--folder DIR] [options of distres deblur]

`cost` needs the folder with half1, half2, mask and monores_chimera (``.mrc.gz``). CPU time is given
in u, that of one float32 `scipy.fft.rfftn` of 256^3 on one thread; Xmipp takes 94 u for the same.

`scale` sharpens a half map of the blob phantom by its true resolution map, and prints memory and
time.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mrcfile
import numpy as np
import torch
from common import distres, make_blob, measure, unit_seconds
from scale import describe, say

from distres.methods.deblur_plan import DeblurParameters
from distres.methods.deblur_run import deblur_map
from distres.methods.options import RunOptions

XMIPP_U = 94.0


def cost(folder):
    """Time whole runs on the oracle pair, from plain files as Xmipp reads them."""
    torch.set_num_threads(1)
    inside = mrcfile.read(folder / "mask.mrc.gz") > 0.5
    with tempfile.TemporaryDirectory() as place:
        volumes = unpacked(folder, Path(place))
        run_once(volumes, "blur", Path(place) / "warm")
        for name in ("xmipp", "paper", "blur"):
            before = unit_seconds()
            started = time.process_time()
            run = run_once(volumes, name, Path(place) / name)
            seconds = time.process_time() - started
            unit = (before + unit_seconds()) / 2
            text = f"{name}: 3 iterations, whole run {seconds:.2f} s = {seconds / unit:.1f} u"
            if name == "xmipp":
                expected = mrcfile.read(folder / "localdeblur.mrc.gz").astype(np.float32)[inside]
                found = mrcfile.read(run.directory / run.record["outputs"]["sharpened"])[inside]
                r = np.corrcoef(found, expected)[0, 1]
                text += f" (Xmipp {XMIPP_U:g} u), correlation with its map {r:.8f}"
            print(text)


def unpacked(folder, place):
    """Write the mean of the halves, the resolution map and the mask as plain files."""
    first, second, locres, mask = (
        mrcfile.read(folder / f"{name}.mrc.gz").astype(np.float32)
        for name in ("half1", "half2", "monores_chimera", "mask")
    )
    volumes = {"map": (first + second) / 2, "locres": locres, "mask": mask}
    paths = {name: place / f"{name}.mrc" for name in volumes}
    for name, values in volumes.items():
        mrcfile.write(paths[name], values, voxel_size=1.0)
    return paths


def run_once(volumes, name, directory):
    return deblur_map(
        volumes["map"],
        volumes["locres"],
        DeblurParameters(model=name, iterations=3, change=0.0),
        RunOptions(output=directory, mask=None if name == "xmipp" else str(volumes["mask"])),
    )


def scale(folder, edge, more):
    """Sharpen a blob phantom that may be far larger than the workers' memory."""
    volumes = make_blob(folder, edge)
    output = folder / f"deblur{edge}"
    command = distres("deblur", volumes["half1"], "--locres", volumes["truth_0.5"])
    command += ["-m", volumes["mask"], "-o", output, "--overwrite", *more]
    say("LocalDeblur", measure(command))
    describe(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("cost")
    first.add_argument("--oracle", type=Path, required=True)
    second = commands.add_parser("scale")
    second.add_argument("--edge", type=int, default=1024)
    second.add_argument("--folder", type=Path, default=Path("deblur_scale"))
    options, more = parser.parse_known_args()
    if more and options.command != "scale":
        parser.error(f"unknown options: {' '.join(more)}")
    if options.command == "cost":
        cost(options.oracle)
    else:
        scale(options.folder, options.edge, more)


if __name__ == "__main__":
    main()
