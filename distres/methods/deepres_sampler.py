"""The pool of filtered maps that batches are drawn from."""

from pathlib import Path

import numpy as np

from distres.kernels.deepres_synthesis import (
    Crops,
    FilteredMap,
    draw_crops,
    draw_transfer,
    filtered_map,
    noise_fields,
)
from distres.methods.deepres_data import PieceFile
from distres.methods.deepres_recipe import Recipe


class Sampler:
    """Draws batches; the same seed and pieces give the same batches.

    Parameters
    ----------
    pieces
        Densities to draw from.
    folder
        Where they lie.
    recipe
        Everything else.
    seed
        Of this sampler.
    part
        Which part of a training it serves: one that goes on sees other batches than before.
    """

    def __init__(
        self, pieces: list[PieceFile], folder: Path, recipe: Recipe, seed: int, part: int = 0
    ) -> None:
        self._folder, self._recipe = folder, recipe
        self._rng = np.random.default_rng([seed, part])
        self._nucleic = [piece for piece in pieces if piece.nucleic]
        self._protein = [piece for piece in pieces if not piece.nucleic]
        self._fields = noise_fields(np.random.default_rng([seed, part, 1]))
        self._pool: list[FilteredMap] = []
        self._next = 0

    def batch(self, crops: int) -> Crops:
        """Replace a few maps of the pool, then take crops from others at random."""
        training = self._recipe.training
        fresh = training.pool if not self._pool else training.refresh
        for _ in range(fresh):
            self._put(self._map())
        chosen = self._rng.choice(len(self._pool), crops, replace=crops > len(self._pool))
        maps = [self._pool[number] for number in chosen]
        augmentation = self._recipe.augmentation
        return draw_crops(maps, self._fields, augmentation, training.crop_vox, self._rng)

    def _put(self, one: FilteredMap) -> None:
        if len(self._pool) < self._recipe.training.pool:
            self._pool.append(one)
        else:
            self._pool[self._next] = one
        self._next = (self._next + 1) % self._recipe.training.pool

    def _map(self) -> FilteredMap:
        recipe, rng = self._recipe, self._rng
        voxel = recipe.network.voxel_size_angstrom
        transfer, label = draw_transfer(rng, recipe.augmentation, recipe.labels_angstrom, voxel)
        return filtered_map(
            self._piece().load(self._folder),
            transfer,
            label,
            voxel_size_angstrom=voxel,
            crop_vox=recipe.training.crop_vox,
            scramble=rng if rng.random() < recipe.augmentation.scramble else None,
        )

    def _piece(self) -> PieceFile:
        nucleic = self._rng.random() < self._recipe.data.nucleic_share
        among = (self._nucleic if nucleic else self._protein) or self._nucleic or self._protein
        return among[self._rng.integers(len(among))]
