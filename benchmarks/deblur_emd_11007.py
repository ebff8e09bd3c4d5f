"""LocalDeblur of a real map, EMD-11007: local resolution of the single map, then sharpening.

Usage: python benchmarks/deblur_emd_11007.py MAP [--folder emd_11007_deblur] [--picture FILE.png]

Runs `distres mask --single`, `distres monores --single` and `distres deblur` with both models, and
draws two slices of the map before, of its local resolution, and of the map after.
"""

import argparse
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
from common import distres, measure
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from distres.io.volume import open_volume
from distres.report.colours import RAMP


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("map", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("emd_11007_deblur"))
    parser.add_argument("--picture", type=Path, default=Path("emd_11007_deblur.png"))
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / "emd_11007_crop.map"
    if options.map.suffix == ".gz":
        with gzip.open(options.map, "rb") as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file)
    else:
        shutil.copyfile(options.map, plain)
    run("mask", plain, "--single", "-o", folder / "mask")
    mask = folder / "mask" / "emd_11007_crop_mask.mrc"
    run("monores", plain, "--single", "-m", mask, "-o", folder / "monores")
    for model in ("paper", "blur"):
        run(
            *("deblur", plain, "--locres", folder / "monores", "-m", mask),
            *("--model", model, "-o", folder / model),
        )
    draw(folder, options.picture)


def run(*words):
    """Run a command unless it has finished, and say what it found."""
    output = Path(words[-1])
    if not (output / "run.json").exists():
        cost = measure(distres(*words, "--overwrite"))
        print(f"{words[0]}: {cost.cpu_seconds:.0f} s of CPU")
    record = json.loads((output / "run.json").read_text())
    print(output.name, json.dumps(record.get("statistics"), indent=1)[:900], flush=True)


def draw(folder, picture):
    """Draw slices across z and x, before and after."""
    names = {
        "before": folder / "emd_11007_crop.map",
        "local resolution (MonoRes)": folder / "monores/emd_11007_crop_monores_locres.mrc",
        "paper": folder / "paper/emd_11007_crop_deblur.mrc",
        "blur": folder / "blur/emd_11007_crop_deblur.mrc",
    }
    mask = load(folder / "mask/emd_11007_crop_mask.mrc") > 0.5
    places = [int(np.argmax(mask.sum(axis=others))) for others in ((1, 2), (0, 1))]
    ramp = LinearSegmentedColormap.from_list("resolution", RAMP)
    figure = Figure(figsize=(11.6, 6.4), layout="constrained")
    grid = figure.subplots(2, len(names))
    for column, (name, path) in enumerate(names.items()):
        values = load(path)
        slices = [values[places[0]], values[:, :, places[1]]]
        for row, (part, axes) in enumerate(zip(slices, grid[:, column], strict=True)):
            if "resolution" in name:
                known = values[mask & (values > 0)]
                low, high = np.percentile(known, [2, 98])
                shown = np.ma.masked_where(~(part > 0), part)
                image = axes.imshow(shown, cmap=ramp, vmin=low, vmax=high, origin="lower")
                if row == 0:
                    figure.colorbar(image, ax=axes, shrink=0.7, label="Å")
            else:
                middle, spread = np.mean(values[mask]), np.std(values[mask])
                ends = {"vmin": middle - 2 * spread, "vmax": middle + 3 * spread}
                axes.imshow(part, cmap="gray", origin="lower", **ends)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(name, fontsize=10, loc="left")
    for row, text in enumerate((f"z = {places[0]}", f"x = {places[1]}")):
        grid[row, 0].set_ylabel(text)
    figure.savefig(picture, dpi=80)


def load(path):
    """Read a whole volume as (z, y, x)."""
    volume = open_volume(path)
    return volume.read(tuple(slice(0, n) for n in volume.shape))


if __name__ == "__main__":
    main()
