"""Spectra folded onto fewer frequencies: the same field at every second sample, say.

A field sampled at m of its n places has the spectrum of all of them with frequencies m apart added.
So a filtered spectrum is multiplied and folded in one pass, and only the small grid is inverted.
"""

from collections.abc import Sequence
from itertools import product

import torch

from distres.kernels.centred import Shape3, empty, planes, slabs

Run = tuple[slice, slice]


def folds(n: int, m: int) -> list[Run]:
    """Return which frequencies of a centred axis of n fall on which of one of m.

    Returns
    -------
    list
        Pairs of slices, from n places and to m places, zero frequency at n // 2 and m // 2.
    """
    found = []
    k, stop = -(n // 2), (n + 1) // 2
    while k < stop:
        # The period of m frequencies that k lies in begins here.
        first = (k + m // 2) // m * m - m // 2
        last = min(first + m, stop)
        found.append((slice(k + n // 2, last + n // 2), slice(k - first, last - first)))
        k = last
    return found


def fold(spectra: Sequence[torch.Tensor], weights: torch.Tensor, box: Shape3) -> list[torch.Tensor]:
    """Multiply centred spectra by an even filter and add what falls on the same frequency.

    Parameters
    ----------
    spectra
        (z, y, x) complex64 of one shape, with zero frequency in the middle.
    weights
        The filter, as `distres.kernels.centred.mirrored` returns it.
    box
        Shape of the answers: no more frequencies along any axis.

    Returns
    -------
    list
        For every spectrum the folded one, (z, y, x) complex64.
    """
    device, shape = spectra[0].device, _shape(spectra[0])
    found = [empty(box, torch.complex64, device).zero_() for _ in spectra]
    ways = [(_reals(one), _reals(other)) for one, other in zip(spectra, found, strict=True)]
    rows = folds(shape[1], box[1])
    pairs = [(_twice(x_from), _twice(x_to)) for x_from, x_to in folds(shape[2], box[2])]
    for z_from, z_to in folds(shape[0], box[0]):
        for slab in slabs((z_from.stop - z_from.start, *shape[1:]), device):
            here = slice(z_from.start + slab.start, z_from.start + slab.stop)
            there = slice(z_to.start + slab.start, z_to.start + slab.stop)
            weight = planes(weights, shape, here)
            for (y_from, y_to), (x_from, x_to) in product(rows, pairs):
                factor = weight[:, y_from, x_from]
                for source, target in ways:
                    target[there, y_to, x_to].addcmul_(source[here, y_from, x_from], factor)
    return found


def _shape(spectrum: torch.Tensor) -> Shape3:
    z, y, x = spectrum.shape
    return z, y, x


def _reals(spectrum: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(spectrum).flatten(-2)


def _twice(places: slice) -> slice:
    """Return the real numbers of complex ones."""
    return slice(2 * places.start, 2 * places.stop)
