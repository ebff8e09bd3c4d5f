"""What sharpening does to DeepRes, and does not do to methods that compare signal with noise.

Usage: python benchmarks/sharpening.py STRUCTURE [--blur 80] [--noise 0.03] [--low-pass A]
           [--folder oversharp]

Half maps of the structure, every atom with B = blur, white noise in each half. Both halves are
multiplied by the same ``exp(-B s^2 / 4)``, ending softly where the global FSC of the untouched
halves falls to 0.143 (or at --low-pass), and measured under each B by the global FSC, the local FSC
and MonoRes. DeepRes reads the mean of the halves under the same filters, as `distres oversharp`
does.
"""

import argparse
from pathlib import Path

import mrcfile
import torch
from common import table
from matplotlib.figure import Figure
from oversharp import mean_of, phantom, scan, write_like

import distres
from distres.kernels.sharpen import Edge, Sharpener
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions

HALVES_AT = (50.0, 0.0, -50.0, -100.0, -150.0, -200.0)
COLOURS = {"local FSC 0.5": "#d55e00", "MonoRes": "#009e73", "global FSC 0.143": "#555555"}


def sharpened(path, b, end_angstrom):
    """Write a map of 1 angstrom voxels under a B-factor; return where."""
    values = torch.from_numpy(mrcfile.read(path).copy())
    sharpener = Sharpener(values, (1.0,) * 3, Edge.ending_at(end_angstrom))
    return write_like(path, f"{path.stem}_b{b:g}.mrc", sharpener.sharpened(b).numpy())


def measure_halves(files, b, end_angstrom):
    """Return the global FSC's resolution and the medians of the local ones, in angstrom."""
    halves = [sharpened(files[role], b, end_angstrom) for role in ("half1", "half2")]

    def median(compute, parameters, name):
        options = RunOptions(
            pixel_size_angstrom=1.0,
            output=files["half1"].with_name(name),
            mask=files["mask"],
            device="cpu",
            overwrite=True,
        )
        done = compute(*halves, parameters, options)
        return next(iter(done.record["statistics"].values()))["median"]

    fsc = distres.fsc(*halves, pixel_size=1.0).attrs["resolution_angstrom"]
    return {
        "local FSC 0.5": median(compute_localfsc, LocalFscParameters(thresholds=(0.5,)), "fsc"),
        "MonoRes": median(compute_monores, MonoResParameters(), "monores"),
        "global FSC 0.143": fsc,
    }


def draw(curve, halves, blur, path):
    """Draw medians against the B-factor, from blur to sharpening."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    b, values = curve["b_square_angstrom"], curve["median_angstrom"]
    axes.plot(b, values, "o-", color="#0072b2", label="DeepRes, median")
    for name, colour in COLOURS.items():
        label = name if name.startswith("global") else f"{name}, median"
        axes.plot(
            list(halves),
            [row[name] for row in halves.values()],
            "s--",
            color=colour,
            ms=4,
            label=label,
        )
    axes.axvline(-blur, color="#999999", lw=0.8, ls=":", label=f"undoes the blur: B = {-blur:g} Å²")
    axes.invert_xaxis()
    axes.set(
        xlabel="B-factor applied (Å²): blur on the left, sharpening on the right",
        ylabel="resolution (Å), finer downwards",
    )
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("structure", type=Path)
    parser.add_argument("--blur", type=float, default=80.0)
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--low-pass", type=float)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("oversharp"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    files = phantom(chosen.structure, chosen.folder, chosen.blur, chosen.noise)
    path = mean_of(files)
    found, _ = scan(chosen, path, files, chosen.low_pass, "localfsc")
    curve = found["curve"]
    halves = {}
    for b in HALVES_AT:
        halves[b] = measure_halves(files, b, found["spectrum_ends_at_angstrom"])
        print(b, halves[b], flush=True)
    deepres = dict(zip(curve["b_square_angstrom"], curve["median_angstrom"], strict=True))
    rows = [
        (f"{b:+g}", f"{deepres[b]:.2f}", *(f"{row[name]:.2f}" for name in COLOURS))
        for b, row in halves.items()
    ]
    print(table(rows, ("B", "DeepRes", *COLOURS)))
    draw(curve, halves, chosen.blur, chosen.folder / "sharpening.png")


if __name__ == "__main__":
    main()
