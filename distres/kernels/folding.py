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
    """Return which frequencies of an axis of n look the same on m places.

    Returns
    -------
    list
        Pairs of slices, from n places and to m places: m apart is the same. Where zero frequency
        comes to lie changes a field by a phase of modulus one.
    """
    return [(slice(i, min(i + m, n)), slice(0, min(m, n - i))) for i in range(0, n, m)]


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
    ways = [
        (y_from, _twice(x_from), _reals(one)[:, y_from, _twice(x_from)], _reals(other)[:, y_to, to])
        for (y_from, y_to), (x_from, x_to) in product(*map(folds, shape[1:], box[1:]))
        for one, other in zip(spectra, found, strict=True)
        for to in [_twice(x_to)]
    ]
    for z_from, z_to in folds(shape[0], box[0]):
        for slab in slabs((z_from.stop - z_from.start, *shape[1:]), device):
            here = slice(z_from.start + slab.start, z_from.start + slab.stop)
            there = slice(z_to.start + slab.start, z_to.start + slab.stop)
            weight = planes(weights, shape, here)
            for y, x, source, target in ways:
                target[there].addcmul_(source[here], weight[:, y, x])
    return found


def _shape(spectrum: torch.Tensor) -> Shape3:
    z, y, x = spectrum.shape
    return z, y, x


def _reals(spectrum: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(spectrum).flatten(-2)


def _twice(places: slice) -> slice:
    """Return the real numbers of complex ones."""
    return slice(2 * places.start, 2 * places.stop)
