"""How well a DeepRes network reads the resolution of structures it has never seen.

Usage: python benchmarks/deepres.py errors|phases|regions|architectures STRUCTURES [options]

`errors`: the structures held out by the recipe, one piece of each, low-passed at resolutions over
the whole range, with white noise; errors per resolution, noise and class, and coverage of the
stated uncertainty. `phases`: a 2 angstrom map whose phases are random beyond 4 angstrom.
`regions`: one map whose chains have different resolutions, pictured. `architectures`: short
trainings of several networks on the same batches, error against cost.

Density is that of atoms with B = 0. Noise is given where the 99th percentile of the filtered
density within 2 angstrom of an atom is 1, and errors are of the voxels there.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import table
from matplotlib.figure import Figure
from scipy import fft

from distres.io.deepres_weights import load_model, load_weights
from distres.io.structures import read_structure
from distres.kernels.deepres import HALO_VOX, DeepResConfig, DeepResNetwork, seeded_network
from distres.kernels.deepres_labels import Transfer, raised_cosine
from distres.kernels.deepres_synthesis import (
    INSIDE,
    RANGES_ANGSTROM,
    FilteredMap,
    Piece,
    filtered_map,
)
from distres.methods.deepres_data import (
    TRAINING,
    VALIDATION,
    make_piece,
    prepare,
    structure_files,
)
from distres.methods.deepres_recipe import Recipe, read_recipe, shipped_recipe
from distres.methods.deepres_sampler import Sampler
from distres.methods.deepres_training import loss_of, rate
from distres.report.colours import RAMP

RESOLUTIONS = {
    "A": (2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
    "B": (1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6),
}
NOISES = (0.08, 0.2)
CROP_VOX = 33
CLASSES = ("protein", "nucleic acid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Errors of one resolution, noise and class."""

    resolution: float
    noise: float
    kind: str
    structures: int
    median: float
    sd: float
    within_structure_sd: float
    coverage_1: float
    coverage_2: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("errors", "phases", "regions", "architectures"))
    parser.add_argument("structures", type=Path)
    parser.add_argument("--model", choices=("A", "B"), default="A")
    parser.add_argument("--weights", type=Path, help="instead of the shipped ones")
    parser.add_argument("--folder", type=Path, default=Path("deepres_benchmark"))
    parser.add_argument("--pieces", type=Path, help="of a training, for architectures")
    parser.add_argument("--steps", type=int, default=300, help="for architectures")
    parser.add_argument("--only", choices=tuple(SHAPES), help="one of the architectures")
    parser.add_argument("--resolutions", type=float, nargs="+")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    {"errors": errors, "phases": phases, "regions": regions, "architectures": architectures}[
        options.what
    ](options)


def network_of(options: argparse.Namespace) -> DeepResNetwork:
    return load_weights(options.weights) if options.weights else load_model(options.model)


def held_out(options: argparse.Namespace) -> Iterator[tuple[str, bool, Piece]]:
    """Yield name, whether nucleic, and density of the held-out structures."""
    recipe = read_recipe(shipped_recipe(options.model))
    files = structure_files(options.structures)
    names = [name for name in recipe.data.held_out if name in files]
    data = replace(recipe.data, validation=tuple(names), held_out=(), most_pieces=1)
    folder = options.folder / f"pieces_{options.model}"
    voxel = recipe.network.voxel_size_angstrom
    chosen = {name: files[name] for name in names}
    for piece in prepare(chosen, data, voxel, folder):
        yield piece.structure, piece.nucleic, piece.load(folder)


def crop_of(one: FilteredMap, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Take a part around a random voxel inside, and tell which of its answers count."""
    edge = min(CROP_VOX, len(one.density))
    centres = np.argwhere(one.distance == INSIDE)
    start = np.clip(centres[rng.integers(len(centres))] - edge // 2, 0, len(one.density) - edge)
    place = tuple(slice(s, s + edge) for s in start)
    inner = slice(HALO_VOX, edge - HALO_VOX)
    return one.density[place], one.distance[place][inner, inner, inner] == INSIDE


def read(network: DeepResNetwork, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        answer = network(torch.from_numpy(np.ascontiguousarray(density))[None, None])[0]
    return answer[0].numpy(), answer[1].numpy()


def errors(options: argparse.Namespace) -> None:
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    pieces = list(held_out(options))
    rng = np.random.default_rng(0)
    rows = []
    for resolution in options.resolutions or RESOLUTIONS[options.model]:
        found: dict[tuple[float, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for _, nucleic, piece in pieces:
            transfer = Transfer(resolution_angstrom=resolution)
            one = filtered_map(piece, transfer, resolution, voxel_size_angstrom=voxel, crop_vox=17)
            density, counts = crop_of(one, rng)
            white = rng.standard_normal(density.shape, np.float32)
            for noise in NOISES:
                answer, sigma = read(network, density + np.float32(noise) * white)
                key = (noise, CLASSES[nucleic])
                found.setdefault(key, []).append((answer[counts], sigma[counts]))
        rows += [
            summary(resolution, noise, kind, [*parts])
            for noise in NOISES
            for kind, parts in (
                *((k, found.get((noise, k), [])) for k in CLASSES),
                ("all", [p for k in CLASSES for p in found.get((noise, k), [])]),
            )
            if parts
        ]
    name = f"errors_{options.model}"
    (options.folder / f"{name}.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1)
    )
    head = [
        "A",
        "noise",
        "class",
        "structures",
        "median",
        "SD",
        "SD within",
        "within 1 u",
        "within 2 u",
    ]
    print(table([cells(row) for row in rows], head))
    print(f"{network.config.operations_per_voxel} multiply-adds a voxel")
    draw_errors(rows, options.folder / f"{name}.png")


def summary(
    resolution: float, noise: float, kind: str, parts: list[tuple[np.ndarray, np.ndarray]]
) -> Row:
    """Every structure counts the same, however many voxels its crop has."""
    answer = np.concatenate([np.quantile(a, np.linspace(0, 1, 1001)) for a, _ in parts])
    distance = [np.abs(a - resolution) / sigma for a, sigma in parts]
    return Row(
        resolution=resolution,
        noise=noise,
        kind=kind,
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
        str(row.structures),
        f"{row.median:.2f}",
        f"{row.sd:.2f}",
        f"{row.within_structure_sd:.2f}",
        f"{100 * row.coverage_1:.0f} %",
        f"{100 * row.coverage_2:.0f} %",
    ]


def draw_errors(rows: list[Row], path: Path) -> None:
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, noise in zip(panels, NOISES, strict=True):
        for kind, colour in zip(CLASSES, ("#0072b2", "#d55e00"), strict=True):
            mine = [row for row in rows if row.noise == noise and row.kind == kind]
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


def phases(options: argparse.Namespace) -> None:
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    rng = np.random.default_rng(0)
    found: dict[str, list[np.ndarray]] = {}
    for _, _, piece in held_out(options):
        shape = piece.density.shape
        spectrum = fft.rfftn(piece.density.astype(np.float32))
        full, half = fft.fftfreq(shape[0], voxel), fft.rfftfreq(shape[0], voxel)
        k = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
        random = fft.rfftn(rng.standard_normal(shape, np.float32))
        random /= np.abs(random)
        place = None
        for b_factor in (0.0, 50.0):
            low = raised_cosine(k, 2.0, voxel) * np.exp(-b_factor * k**2 / 4)
            kept = spectrum * low
            mixed = np.where(k > 1 / 4, np.abs(kept) * random, kept)
            for name, values in (("2 A map", kept), ("phases random beyond 4 A", mixed)):
                density = np.asarray(fft.irfftn(values, shape), np.float32)
                one = FilteredMap(
                    density=density,
                    distance=piece.distance,
                    centres=np.zeros((0, 3)),
                    label_angstrom=0,
                )
                place = place or rng.bit_generator.state
                crop, counts = crop_of(one, np.random.default_rng(1))
                answer, _ = read(network, crop)
                found.setdefault(f"{name}, B {b_factor:g}", []).append(answer[counts])
    for name, answers in found.items():
        everything = np.concatenate(answers)
        low, median, high = np.percentile(everything, (16, 50, 84))
        print(f"{name}: median {median:.2f} A (16 % {low:.2f}, 84 % {high:.2f})")


def regions(options: argparse.Namespace) -> None:
    """One map of the four chains of haemoglobin, at 3, 5, 7 and 9 angstrom."""
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    structure = read_structure(structure_files(options.structures)["5ni1"])
    whole = make_piece(structure.atoms, voxel, 16.0)
    edge = len(whole.density)
    low = structure.atoms.positions_angstrom.min(axis=0)
    high = structure.atoms.positions_angstrom.max(axis=0)
    shift = (edge - 1) / 2 * voxel - (low + high) / 2
    truth = np.full(whole.density.shape, np.nan, np.float32)
    density = np.zeros(whole.density.shape, np.float32)
    chains = np.unique(structure.chain_of)[:4]
    nearest = np.full(truth.shape, np.inf)
    for chain, resolution in zip(chains, (3.0, 5.0, 7.0, 9.0), strict=True):
        atoms = structure.atoms.select(structure.chain_of == chain).moved(np.eye(3), shift)
        part, away = chain_density(atoms, edge, voxel)
        density += filtered(part, resolution, voxel)
        closer = away < nearest
        truth[closer], nearest = resolution, np.minimum(nearest, away)
    inside = nearest <= RANGES_ANGSTROM[0]
    density /= np.percentile(density[inside], 99)
    density += np.float32(0.08) * np.random.default_rng(0).standard_normal(
        density.shape, np.float32
    )
    answer, _ = read(network, density)
    inner = (slice(HALO_VOX, edge - HALO_VOX),) * 3
    truth[~inside] = np.nan
    for resolution in (3.0, 5.0, 7.0, 9.0):
        mine = answer[truth[inner] == resolution]
        print(f"chain at {resolution:g} A: median {np.median(mine):.2f}, SD {mine.std():.2f}")
    draw_regions(density[inner], truth[inner], answer, options.folder / "regions.png")


def chain_density(atoms, edge: int, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    from scipy import ndimage

    from distres.kernels.density import density_map

    still = replace(atoms, b_factors=np.zeros(len(atoms)))
    empty = np.ones((edge,) * 3, bool)
    empty[tuple(np.rint(atoms.positions_angstrom / voxel).astype(int).T)] = False
    return density_map(still, (edge,) * 3, voxel), ndimage.distance_transform_edt(empty) * voxel


def filtered(density: np.ndarray, resolution: float, voxel: float) -> np.ndarray:
    full, half = fft.fftfreq(len(density), voxel), fft.rfftfreq(len(density), voxel)
    k = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    gain = raised_cosine(k, resolution, voxel)
    return np.asarray(fft.irfftn(fft.rfftn(density) * gain, density.shape), np.float32)


def draw_regions(density: np.ndarray, truth: np.ndarray, answer: np.ndarray, path: Path) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("resolution", RAMP)
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    depth = int(np.argmax(np.isfinite(truth).sum(axis=(1, 2))))
    shown = np.where(np.isfinite(truth), answer, np.nan)
    panels[0].imshow(density[depth], cmap="gray")
    for axes, values in zip(panels[1:], (truth, shown), strict=True):
        picture = axes.imshow(values[depth], cmap=ramp, vmin=2.5, vmax=10, interpolation="nearest")
    for axes, title in zip(panels, ("map, noise 0.08", "true", "DeepRes"), strict=True):
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(picture, ax=panels, label="resolution (Å)", shrink=0.9)
    figure.savefig(path, dpi=160)


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "six 3^3 layers": {
        "widths": (16, 16, 24, 24, 32, 32),
        "kernels": (3,) * 6,
        "dilations": (1,) * 6,
    },
    "5^3 first": {
        "widths": (24, 24, 24, 32, 32),
        "kernels": (5, 3, 3, 3, 3),
        "dilations": (1,) * 5,
    },
    "7^3 first": {"widths": (32,) * 4, "kernels": (7, 3, 3, 3), "dilations": (1,) * 4},
    "dilated": {"widths": (24, 32, 32, 32), "kernels": (3,) * 4, "dilations": (1, 1, 2, 2)},
    "5^3 first, twice as wide": {
        "widths": (48, 48, 48, 64, 64),
        "kernels": (5, 3, 3, 3, 3),
        "dilations": (1,) * 5,
    },
}


def architectures(options: argparse.Namespace) -> None:
    recipe = read_recipe(shipped_recipe(options.model))
    recipe = replace(recipe, training=replace(recipe.training, steps=options.steps))
    files = structure_files(options.structures)
    voxel = recipe.network.voxel_size_angstrom
    pieces = prepare(files, recipe.data, voxel, options.pieces)
    samplers = [
        Sampler([p for p in pieces if p.split == split], options.pieces, recipe, seed)
        for seed, split in enumerate((TRAINING, VALIDATION))
    ]
    batches = [samplers[0].batch(recipe.training.batch) for _ in range(options.steps)]
    held = [samplers[1].batch(64) for _ in range(8)]
    rows = []
    shapes = {options.only: SHAPES[options.only]} if options.only else SHAPES
    for name, shape in shapes.items():
        rows.append(short_training(name, replace(recipe.network, **shape), recipe, batches, held))
        print(rows[-1], flush=True)
    head = [
        "network",
        "multiply-adds",
        "s of CPU",
        "median error",
        "fine",
        "middle",
        "coarse third",
    ]
    print(table(rows, head))


def short_training(name: str, config: DeepResConfig, recipe: Recipe, batches, held) -> list[str]:
    network = seeded_network(config, 0).to(memory_format=torch.channels_last_3d)
    adam = torch.optim.Adam(network.parameters())
    began = time.process_time()
    for step, crops in enumerate(batches):
        for group in adam.param_groups:
            group["lr"] = rate(replace(recipe.training, decay_share=1.0, warm_up=50), step)
        mean, log_sigma = network.logarithms(torch.from_numpy(crops.density))
        label = torch.from_numpy(crops.label_angstrom).log()
        loss = loss_of(mean, log_sigma, label, torch.from_numpy(crops.weight))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
    spent = time.process_time() - began
    residuals, labels = [], []
    with torch.no_grad():
        for crops in held:
            mean, _ = network.logarithms(torch.from_numpy(crops.density))
            label = torch.from_numpy(crops.label_angstrom).log()[:, None, None, None]
            counts = torch.from_numpy(crops.weight) > 0
            residuals.append((mean - label)[counts])
            labels.append(label.expand_as(mean)[counts])
    error, true = torch.cat(residuals).abs(), torch.cat(labels).exp()
    low, high = config.range_angstrom
    third = (high / low) ** (1 / 3)
    parts = [(0, high), (0, low * third), (low * third, low * third**2), (low * third**2, high)]
    medians = [float(error[(true > a) & (true <= b)].median()) for a, b in parts]
    return [
        name,
        str(config.operations_per_voxel),
        f"{spent:.0f}",
        *(f"{100 * median:.1f} %" for median in medians),
    ]


if __name__ == "__main__":
    main()
