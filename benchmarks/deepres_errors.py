"""How well a DeepRes network reads the resolution of structures it has never seen.

Usage: python benchmarks/deepres_errors.py STRUCTURES [--model A|B] [--resolutions A A ...]

The structures held out by the recipe, one piece of each, low-passed at resolutions over the whole
range, with white noise: errors per resolution, noise and class, and coverage of the stated
uncertainty. See `deepres_unseen` for what counts.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import numpy as np
from common import table
from deepres_unseen import (
    Crop,
    averaged,
    crop_of,
    held_out,
    make_parser,
    network_of,
    parse,
    read,
)
from matplotlib.figure import Figure

from distres.kernels.deepres import DeepResNetwork
from distres.kernels.deepres_labels import Transfer
from distres.kernels.deepres_synthesis import filtered_map

RESOLUTIONS = {
    "A": (2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
    "B": (1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6),
}
NOISES = (0.08, 0.2)
CLASSES = ("protein", "nucleic acid")
HEAD = (
    *("A", "noise", "class", "averaged over", "structures"),
    *("median", "SD", "SD within", "within 1 u", "within 2 u"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Errors of one resolution, noise and class."""

    resolution: float
    noise: float
    kind: str
    smooth: float
    structures: int
    median: float
    sd: float
    within_structure_sd: float
    coverage_1: float
    coverage_2: float


def errors(options: argparse.Namespace) -> None:
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    pieces = list(held_out(options))
    rows = []
    for resolution in options.resolutions or RESOLUTIONS[options.model]:
        # The same crops and noise whichever resolutions are asked for.
        rng = np.random.default_rng(0)
        found: dict[tuple[float, float, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for _, nucleic, piece in pieces:
            transfer = Transfer(resolution_angstrom=resolution)
            one = filtered_map(piece, transfer, resolution, voxel_size_angstrom=voxel, crop_vox=17)
            margin = ceil(1.1 * options.smooth * resolution / voxel)
            parts: dict[tuple[float, float], list[np.ndarray]] = {}
            for _ in range(options.crops):
                crop = crop_of(one, rng, margin)
                for key, part in read_crop(network, crop, rng, options.smooth):
                    parts.setdefault(key, []).append(part)
            for key, several in parts.items():
                answer, sigma = np.concatenate(several, axis=1)
                found.setdefault((*key, CLASSES[nucleic]), []).append((answer, sigma))
        rows += summaries(resolution, found)
        print(table([cells(row) for row in rows if row.resolution == resolution], HEAD), flush=True)
    name = f"errors_{options.model}"
    (options.folder / f"{name}.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1)
    )
    print(f"{network.config.operations_per_voxel} multiply-adds a voxel")
    draw_errors(rows, options.folder / f"{name}.png")


def read_crop(
    network: DeepResNetwork, crop: Crop, rng: np.random.Generator, smooth: float
) -> Iterator[tuple[tuple[float, float], np.ndarray]]:
    """Yield noise, averages and (2, n) what counts of answers and uncertainties."""
    white = rng.standard_normal(crop.density.shape, np.float32)
    for noise in NOISES:
        answer = read(network, crop.density + np.float32(noise) * white)
        for width in sorted({0.0, smooth}):
            mine = answer[(slice(None), *crop.inner)]
            if width:
                mine = averaged(network, answer, crop.mask, crop.inner, width)
            yield (noise, width), np.stack([mine[0][crop.counts], mine[1][crop.counts]])


def summaries(
    resolution: float, found: dict[tuple[float, float, str], list[tuple[np.ndarray, np.ndarray]]]
) -> list[Row]:
    rows = []
    for noise, smooth in sorted({key[:2] for key in found}):
        classes = {kind: found.get((noise, smooth, kind), []) for kind in CLASSES}
        classes["all"] = [part for parts in classes.values() for part in parts]
        rows += [
            summary(resolution, noise, smooth, kind, parts)
            for kind, parts in classes.items()
            if parts
        ]
    return rows


def summary(
    resolution: float,
    noise: float,
    smooth: float,
    kind: str,
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> Row:
    """Every structure counts the same, however many voxels its crop has."""
    answer = np.concatenate([np.quantile(a, np.linspace(0, 1, 1001)) for a, _ in parts])
    distance = [np.abs(a - resolution) / sigma for a, sigma in parts]
    return Row(
        resolution=resolution,
        noise=noise,
        kind=kind,
        smooth=smooth,
        structures=len(parts),
        median=float(np.median(answer)),
        sd=float(answer.std()),
        within_structure_sd=float(np.sqrt(np.mean([a.var() for a, _ in parts]))),
        coverage_1=float(np.mean([np.mean(d <= 1) for d in distance])),
        coverage_2=float(np.mean([np.mean(d <= 2) for d in distance])),
    )


def cells(row: Row) -> list[str]:
    return [
        f"{row.resolution:g}",
        f"{row.noise:g}",
        row.kind,
        f"{row.smooth:g}",
        str(row.structures),
        f"{row.median:.2f}",
        f"{row.sd:.2f}",
        f"{row.within_structure_sd:.2f}",
        f"{100 * row.coverage_1:.0f} %",
        f"{100 * row.coverage_2:.0f} %",
    ]


def draw_errors(rows: list[Row], path: Path) -> None:
    most = max(row.smooth for row in rows)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, noise in zip(panels, NOISES, strict=True):
        for kind, colour in zip(CLASSES, ("#0072b2", "#d55e00"), strict=True):
            chosen = [row for row in rows if row.noise == noise and row.kind == kind]
            mine = [row for row in chosen if row.smooth == most]
            true = np.array([row.resolution for row in mine])
            error = np.array([row.median for row in mine]) - true
            sd = np.array([row.sd for row in mine])
            axes.plot(true, error, "o-", ms=3, color=colour, label=kind)
            axes.fill_between(true, error - sd, error + sd, color=colour, alpha=0.15, lw=0)
        axes.axhline(0, color="#555555", lw=0.8)
        axes.grid(alpha=0.3)
        axes.set(xlabel="resolution of the map (Å)", title=f"noise SD {noise:g}")
    panels[0].set_ylabel("answer − resolution (Å)")
    panels[0].legend(frameon=False, title="median ± SD")
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--resolutions", type=float, nargs="+")
    parser.add_argument("--crops", type=int, default=1, help="of each structure")
    errors(parse(parser))
