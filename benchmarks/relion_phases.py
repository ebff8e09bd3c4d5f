"""How far RELION's local resolution depends on which random phases it happened to draw.

Usage: python benchmarks/relion_phases.py HALF1 HALF2 MASK RELION_LOCRES [--seeds 8]
           [--sampling 10] [--mask-radius 10] [--mask-edge 5] [--randomise-at 25]

RELION_LOCRES is what relion_postprocess --locres wrote for the same halves and settings. Every seed
here is one draw of phases, as RELION's own is one. Shares are of voxels of the mask that lie within
3 %. A mean over seeds estimates the correction that RELION's draw scatters about.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import mrcfile
import numpy as np
import torch
from common import table

from distres.kernels.fourier import irfftn, rfftn
from distres.kernels.randomise import randomise_phases
from distres.kernels.shells import Shells
from distres.kernels.softsphere import (
    SphereDesign,
    blend,
    corrected_curves,
    last_shell_above,
    sphere_centres,
    sphere_fsc,
)

WITHIN = 0.03
COARSEST_ANGSTROM = 50.0
THRESHOLD = 0.143


class Spheres:
    """The spheres of one pair of half maps, and what any correction makes of them."""

    def __init__(self, halves: Sequence[np.ndarray], mask: np.ndarray, args: argparse.Namespace):
        self.halves = [torch.from_numpy(np.ascontiguousarray(h, np.float32)) for h in halves]
        with mrcfile.open(args.half1, header_only=True) as mrc:
            voxel = float(mrc.voxel_size.x)
        self.design = SphereDesign(
            radius_angstrom=args.mask_radius,
            edge_angstrom=args.mask_edge,
            voxel_size_angstrom=voxel,
            shape=mask.shape,
        )
        self.inside = mask > 0
        reach = self.design.reach
        centres = sphere_centres(mask.shape, round(args.sampling / voxel), args.mask_radius / voxel)
        around = np.pad(self.inside, reach)
        edge = 2 * reach + 1
        kept = [around[tuple(slice(c, c + edge) for c in centre)].any() for centre in centres]
        self.starts = centres[np.array(kept)]
        self.first = self.design.shell_of(args.randomise_at)
        self.masked = self._curves(self.halves)

    def _curves(self, halves: Sequence[torch.Tensor]) -> np.ndarray:
        blocks = [torch.nn.functional.pad(h, (self.design.reach,) * 6) for h in halves]
        return sphere_fsc(*blocks, self.design, self.starts)

    def randomised(self, seed: int) -> np.ndarray:
        """Return the curves of one draw of phases."""
        shape = self.design.shape
        shells = Shells(shape=shape, voxel_size_angstrom=(self.design.voxel_size_angstrom,) * 3)
        halves = []
        for stream, half in enumerate(self.halves):
            spectrum = rfftn(half)
            randomise_phases(
                spectrum.numpy(), shells, first_shell=self.first, seed=seed, stream=stream
            )
            halves.append(irfftn(spectrum, shape))
        return self._curves(halves)

    def locres(self, randomised: np.ndarray | None) -> np.ndarray:
        """Return resolutions at the voxels of the mask, corrected by some curves or not at all."""
        curves = self.masked
        if randomised is not None:
            curves = corrected_curves(curves, randomised.astype(np.float32), self.first)
        shell = last_shell_above(curves, THRESHOLD)
        with np.errstate(divide="ignore"):
            nodes = 1 / (shell * self.design.width_per_angstrom)
        nodes = np.minimum(nodes, COARSEST_ANGSTROM)
        reach = self.design.reach
        padded = [n + 2 * reach for n in self.inside.shape]
        whole = blend(self.starts, nodes, self.design, padded)
        return whole[tuple(slice(reach, reach + n) for n in self.inside.shape)][self.inside]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("half1", "half2", "mask", "relion"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--sampling", type=float, default=10)
    parser.add_argument("--mask-radius", type=float, default=10)
    parser.add_argument("--mask-edge", type=float, default=5)
    parser.add_argument("--randomise-at", type=float, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    halves = [mrcfile.read(path) for path in (args.half1, args.half2)]
    spheres = Spheres(halves, mrcfile.read(args.mask), args)
    relion = mrcfile.read(args.relion).astype(np.float32)[spheres.inside]
    draws = np.stack([spheres.randomised(seed) for seed in range(1, args.seeds + 1)])
    single = [spheres.locres(draw) for draw in draws]
    half = args.seeds // 2
    means = [spheres.locres(part.mean(axis=0)) for part in (draws[:half], draws[half:])]
    mean = spheres.locres(draws.mean(axis=0))
    pairs = [share(a, b) for a, b in combinations(single, 2)]
    rows = [
        ("no correction, RELION", share(spheres.locres(None), relion)),
        ("one draw, another draw", spread(pairs)),
        ("one draw, RELION", spread([share(s, relion) for s in single])),
        (f"mean of {args.seeds}, one draw", spread([share(mean, s) for s in single])),
        (f"mean of {args.seeds}, RELION", share(mean, relion)),
        (f"mean of {half}, mean of the other {half}", share(*means)),
        (
            "RELION inside the range of the draws",
            np.mean((relion >= np.min(single, 0) * 0.97) & (relion <= np.max(single, 0) * 1.03)),
        ),
    ]
    print(f"{len(spheres.starts)} spheres, {relion.size} voxels")
    print(table([(name, text(value)) for name, value in rows], ("compared", "within 3 %")))
    scatter = np.std(np.log(single), axis=0)
    print(f"\nscatter of one draw: {np.median(scatter):.1%} in the median voxel, ", end="")
    print(f"{np.percentile(scatter, 95):.1%} at the 95th percentile")
    print(f"median of RELION over the mean: {np.median(relion / mean):.4f}")


def share(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of voxels that lie within 3 % of each other."""
    return float(np.mean(np.abs(first / second - 1) <= WITHIN))


def spread(shares: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of some shares and their ends."""
    return float(np.mean(shares)), min(shares), max(shares)


def text(value: float | tuple[float, float, float]) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.1%} ({value[1]:.1%} to {value[2]:.1%})"
    return f"{value:.1%}"


if __name__ == "__main__":
    main()
