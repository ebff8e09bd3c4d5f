"""Error against cost of several networks for DeepRes, by short trainings on the same batches.

Usage: python benchmarks/deepres_architectures.py STRUCTURES --pieces FOLDER [--steps 300]
           [--only NAME]

FOLDER is `pieces` of a training (`distres train-deepres`); what is missing there is made.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import table
from deepres_unseen import make_parser, parse

from distres.kernels.deepres import DeepResConfig, seeded_network
from distres.methods.deepres_data import TRAINING, VALIDATION, prepare, structure_files
from distres.methods.deepres_recipe import Recipe, read_recipe, shipped_recipe
from distres.methods.deepres_sampler import Sampler
from distres.methods.deepres_training import loss_of, rate

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
    parser = make_parser(__doc__)
    parser.add_argument("--pieces", type=Path, required=True, help="of a training")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", choices=tuple(SHAPES), help="one of the networks")
    architectures(parse(parser))
