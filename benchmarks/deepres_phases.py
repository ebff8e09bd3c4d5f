"""What DeepRes says of a 2 angstrom map whose phases are random beyond 4 angstrom.

Usage: python benchmarks/deepres_phases.py STRUCTURES [--model A|B]

The structures held out by the recipe, one piece of each, without noise; the map and the map with
random phases, flat and decaying with B = 50. See `deepres_unseen` for what counts.
"""

import argparse

import numpy as np
from deepres_unseen import crop_of, held_out, make_parser, network_of, parse, read
from scipy import fft

from distres.kernels.deepres_labels import raised_cosine
from distres.kernels.deepres_synthesis import FilteredMap
from distres.kernels.fourier import radial_frequency


def phases(options: argparse.Namespace) -> None:
    """Print what is read in a 2 angstrom map whose phases are random beyond 4 angstrom."""
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    rng = np.random.default_rng(0)
    found: dict[str, list[np.ndarray]] = {}
    for _, _, piece in held_out(options):
        shape = piece.density.shape
        spectrum = fft.rfftn(piece.density.astype(np.float32))
        k = radial_frequency(shape, (voxel,) * 3).numpy()
        random = fft.rfftn(rng.standard_normal(shape, np.float32))
        random /= np.abs(random)
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
                crop = crop_of(one, np.random.default_rng(1))
                answer = read(network, crop.density)[0]
                found.setdefault(f"{name}, B {b_factor:g}", []).append(answer[crop.counts])
    for name, answers in found.items():
        everything = np.concatenate(answers)
        low, median, high = np.percentile(everything, (16, 50, 84))
        print(f"{name}: median {median:.2f} A (16 % {low:.2f}, 84 % {high:.2f})")


if __name__ == "__main__":
    phases(parse(make_parser(__doc__)))
