"""The B-factor that `distres oversharp` finds on phantoms whose blur is known.

Usage: python benchmarks/oversharp.py STRUCTURE [--blur 40 80 140] [--noise 0.03 0.05]
           [--low-pass A A ...] [--snr localfsc monores] [--weights FILE] [--folder oversharp]

For each blur and noise: half maps of the structure, every atom with B = blur, white noise in each
half; their mean is the map. Sharpening by -blur gives the atoms back as they were computed, with
the noise amplified; how much sharpening helps before noise outweighs it is told by the correlation,
inside the mask, of the sharpened map with the density of the same atoms without blur or noise. The
table sets the B of the scan beside the blur, beside the B of the best correlation (in steps of 5),
and beside the Guinier fit's, for every end of the spectrum and method for the halves asked for.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import mrcfile
import numpy as np
import torch
from common import distres, measure, table

from distres.kernels.sharpen import Edge, Sharpener


def phantom(structure, folder, blur, noise):
    place = folder / f"b{blur:g}_n{noise:g}"
    if not (place / "p_truth.json").exists():
        measure(
            distres(
                *("phantom", "model", structure, "-o", place, "--overwrite", "--padding", "12"),
                *("--b-factor", f"{blur}", "--noise", f"{noise}", "--stem", "p"),
            )
        )
    return {role: place / f"p_{role}.mrc" for role in ("half1", "half2", "mask")}


def write_like(template, name, values):
    """Write a map beside another, with its voxel size and origin; return where."""
    with mrcfile.open(template, header_only=True) as like:
        voxel, origin = like.voxel_size.copy(), like.header.origin.copy()
    path = template.with_name(name)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values.astype(np.float32))
        file.voxel_size = voxel
        file.header.origin = origin
    return path


def mean_of(files):
    mean = (mrcfile.read(files["half1"]) + mrcfile.read(files["half2"])) / 2
    return write_like(files["half1"], "p_mean.mrc", mean)


def best_correlation(path, truth, mask, end_angstrom):
    """Return the B under which the map resembles the truth most, and that correlation."""
    inside = mrcfile.read(mask) > 0.5
    wanted = mrcfile.read(truth)[inside].astype(float)
    values = torch.from_numpy(mrcfile.read(path).copy())
    sharpener = Sharpener(values, (1.0,) * 3, Edge.ending_at(end_angstrom))
    tried = np.arange(0, -251, -5)
    found = [
        np.corrcoef(sharpener.sharpened(float(b)).numpy()[inside], wanted)[0, 1] for b in tried
    ]
    return float(tried[int(np.argmax(found))]), max(found)


def scan(chosen, path, files, low_pass, snr):
    """Run the command and return what it found, and what it cost."""
    run = path.parent / "run"
    cost = measure(
        distres(
            *("oversharp", path, files["half1"], files["half2"], "-m", files["mask"]),
            *("-o", run, "--overwrite", "--cluster", "none", "--device", "cpu"),
            *("--samples", f"{chosen.samples}", "--b-range", "-250", "50", "--snr", snr),
            *(("--weights", chosen.weights) if chosen.weights else ()),
            *(("--low-pass", f"{low_pass}") if low_pass is not None else ()),
        )
    )
    return json.loads((run / "run.json").read_text())["oversharp"], cost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("structure", type=Path)
    parser.add_argument("--blur", nargs="+", type=float, default=[40, 80, 140])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.03])
    parser.add_argument("--low-pass", nargs="+", type=float, default=[None])
    parser.add_argument("--snr", nargs="+", default=["localfsc"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--folder", type=Path, default=Path("oversharp"))
    chosen = parser.parse_args()
    truth = phantom(chosen.structure, chosen.folder, 0, 0)["half1"]
    rows = []
    for blur, noise in product(chosen.blur, chosen.noise):
        files = phantom(chosen.structure, chosen.folder, blur, noise)
        path = mean_of(files)
        for low_pass, snr in product(chosen.low_pass, chosen.snr):
            found, cost = scan(chosen, path, files, low_pass, snr)
            end = found["spectrum_ends_at_angstrom"]
            best, _ = best_correlation(path, truth, files["mask"], end)
            rows.append(
                (
                    f"{blur:g}",
                    f"{noise:g}",
                    f"{end:.2f}",
                    snr,
                    f"{found['halves_angstrom']:.2f}",
                    f"{found['deepres_angstrom']:.2f}",
                    f"{-found['b_square_angstrom']:.0f}{'' if found['reached'] else ' (end)'}",
                    f"{found['deepres_at_chosen_b_angstrom']:.2f}",
                    f"{-best:.0f}",
                    f"{-(found['b_guinier_square_angstrom'] or np.nan):.0f}",
                    f"{cost.cpu_seconds:.0f}",
                )
            )
            print(rows[-1], flush=True)
    heads = ("blur", "noise", "ends at", "halves by", "halves 20 %", "DeepRes 20 %", "B found")
    print(table(rows, (*heads, "then DeepRes", "best CC", "Guinier", "CPU s")))


if __name__ == "__main__":
    main()
