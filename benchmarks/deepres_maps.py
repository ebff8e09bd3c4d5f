"""DeepRes of real maps beside the resolution that their entries state.

Usage: python benchmarks/deepres_maps.py FOLDER [--models A B] [--weights FILE] [--output out]

FOLDER holds the maps named below (EMDB entries or cut-outs of them). For each map and model it
prints the median and percentiles of the automatic mask, or of a map's own box where the map is a
cut-out that fills it, and a histogram. A stated resolution is the global FSC's at 0.143, of the
whole particle: a cut-out may be better or worse.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import distres, measure, table


@dataclass(frozen=True)
class Entry:
    """A map, and what its entry says of it."""

    file: str
    name: str
    stated: str
    note: str


ENTRIES = (
    Entry("emd_3488.mrc.gz", "EMD-3488", "3.2", "haemoglobin, masked and sharpened"),
    Entry("emd_11007_crop.map.gz", "EMD-11007", "not known here; low-passed near 3.2", "cut-out"),
    Entry("emd_6272_crop.mrc.gz", "EMD-6272", "2.6", "rotavirus VP6, 52^3 cut-out"),
    Entry("emd_2566_crop.mrc.gz", "EMD-2566", "3.2", "one ribosomal protein, zeros around"),
    Entry("emd_1461_crop.mrc.gz", "EMD-1461", "3.8", "rotavirus VP6, cut-out"),
    Entry("emd_1461_vp6_96.mrc.gz", "EMD-1461 (VP6)", "3.8", "rotavirus VP6, 96^3 cut-out"),
    Entry("emd_21457_seg.mrc.gz", "EMD-21457", "3.2", "spike's N-terminal domain, the mobile part"),
)
BINS = np.array([0, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 12, 15])


def histogram(record):
    """Return the shares of some bins in words."""
    found = next(iter(record["histograms"].values()))
    counts, edges = np.array(found["counts"]), np.array(found["edges_angstrom"])
    middle = np.sqrt(edges[1:] * edges[:-1])
    shares = np.histogram(middle, BINS, weights=counts)[0] / max(counts.sum(), 1)
    return ", ".join(
        f"{low:g}-{high:g}: {100 * share:.0f} %"
        for low, high, share in zip(BINS[:-1], BINS[1:], shares, strict=True)
        if share >= 0.01
    )


def run(entry, folder, model, weights, output):
    place = output / f"{Path(entry.file).name.split('.')[0]}_{model}"
    command = [
        *("deepres", folder / entry.file, "-o", place, "--overwrite", "--model", model),
        *("--cluster", "none", "--device", "cpu"),
        *(("--weights", weights) if weights else ()),
    ]
    cost = measure(distres(*command))
    record = json.loads((place / "run.json").read_text())
    return record, cost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["A", "B"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--output", type=Path, default=Path("deepres_maps"))
    chosen = parser.parse_args()
    rows, bars = [], []
    for entry in ENTRIES:
        if chosen.only and not any(part in entry.file for part in chosen.only):
            continue
        if not (chosen.folder / entry.file).exists():
            print(f"{entry.file} is not in {chosen.folder}", file=sys.stderr)
            continue
        for model in chosen.models:
            record, cost = run(entry, chosen.folder, model, chosen.weights, chosen.output)
            numbers = next(iter(record["statistics"].values()))
            voxel = record["grid"]["voxel_size_angstrom"][0]
            rows.append(
                (
                    entry.name,
                    f"{voxel:.3f}",
                    entry.stated,
                    model,
                    *(f"{numbers[key]:.2f}" for key in ("median", "p5", "p25", "p75", "p95")),
                    f"{cost.cpu_seconds:.0f}",
                    entry.note,
                )
            )
            bars.append(f"{entry.name}, model {model}: {histogram(record)}")
    heads = ("map", "voxel", "stated A", "model", "median", "5 %", "25 %", "75 %", "95 %", "CPU s")
    print(table(rows, (*heads, "")))
    print("\n" + "\n".join(bars))


if __name__ == "__main__":
    main()
