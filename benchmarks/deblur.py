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
import json
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


def part_of(job):
    """Say what a pass is for, by its name in the ledger."""
    if job.startswith("deblur_gain"):
        return "gain"
    halves = ("deblur_iteration", "deblur_residual", "deblur_step")
    return "iterations" if job.startswith(halves) else "rest"


def job_seconds(job):
    lines = map(json.loads, (job / "tiles.jsonl").read_text().splitlines())
    return sum(line.get("seconds", 0.0) for line in lines)


def cost(folder):
    torch.set_num_threads(1)
    halves = [mrcfile.read(folder / f"half{i}.mrc.gz").astype(np.float32) for i in (1, 2)]
    observed = (halves[0] + halves[1]) / 2
    inside = mrcfile.read(folder / "mask.mrc.gz") > 0.5
    for name in ("xmipp", "paper", "blur"):
        with tempfile.TemporaryDirectory() as place:
            before = unit_seconds()
            started = time.process_time()
            run = deblur_map(
                observed,
                mrcfile.read(folder / "monores_chimera.mrc.gz").astype(np.float32),
                DeblurParameters(model=name, iterations=3, change=0.0),
                RunOptions(
                    output=Path(place) / "run",
                    mask=None if name == "xmipp" else str(folder / "mask.mrc.gz"),
                    pixel_size_angstrom=1.0,
                ),
            )
            seconds = time.process_time() - started
            unit = (before + unit_seconds()) / 2
            found = mrcfile.read(run.directory / run.record["outputs"]["sharpened"])[inside]
            passes = {job.name: job_seconds(job) for job in (run.directory / "ledger").iterdir()}
        text = f"{name}: 3 iterations, whole run {seconds:.1f} s = {seconds / unit:.0f} u"
        for part in ("iterations", "gain"):
            spent = sum(took for job, took in passes.items() if part_of(job) == part)
            text += f", {part} {spent / unit:.0f} u"
        if name == "xmipp":
            expected = mrcfile.read(folder / "localdeblur.mrc.gz").astype(np.float32)[inside]
            r = np.corrcoef(found, expected)[0, 1]
            text += f" (Xmipp {XMIPP_U:g} u), correlation with its map {r:.8f}"
        print(text)


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
