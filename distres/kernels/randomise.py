"""Random phases that depend on the coefficient alone, whatever part of the transform is at hand.

A counter-based generator: the phase of coefficient (kz, ky, kx) is a hash of its place in the whole
transform, of the seed and of the stream. Any block of rows gets the phases it would get in one go.
"""

import numpy as np
import numpy.typing as npt

from distres.kernels.shells import ALL, Complex, Part, Shells

Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TURN = np.float32(2 * np.pi / 2**24)


def _mix(state: Words) -> Words:
    # Output function of SplitMix64 (Steele, Lea & Flood 2014): every input bit reaches every output
    # bit. Works in place on its argument.
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def random_words(counter: Words, seed: int, stream: int) -> Words:
    """Hash counters to 64 random bits each; streams and seeds are independent of each other.

    Parameters
    ----------
    counter
        uint64, any shape.
    seed, stream
        Not negative.
    """
    start = np.array([seed], np.uint64)
    for word in (0, stream):  # one mix between them, or seed 1 stream 1 would be seed 2 stream 0
        start = _mix((start + np.uint64(word)) * _GOLDEN + _GOLDEN)
    return _mix((counter + np.uint64(1)) * _GOLDEN + start[0])


def phase_factors(shells: Shells, z: int, part: Part, seed: int, stream: int) -> Complex:
    """Make unit complex numbers for the rows and columns `part` of plane `z`, complex64.

    They are uniform on the circle and Hermitian: in the planes ``kx = 0`` and (nx even)
    ``kx = nx / 2`` a coefficient and its mirror (-kz, -ky) get conjugate factors, and one that is
    its own mirror gets 1 or -1. So the inverse transform stays real and keeps every modulus.
    """
    nz, ny, nx = shells.shape
    nxh = nx // 2 + 1
    ky = np.arange(ny, dtype=np.int64)[part[0]]
    base = (z * ny + ky) * nxh
    columns = np.arange(nxh, dtype=np.int64)[part[1]]
    counter = base[:, None] + columns
    mirror = ((-z % nz) * ny + (-ky % ny)) * nxh
    edges = [place for place, kx in enumerate(columns) if kx == 0 or 2 * kx == nx]
    for place in edges:
        counter[:, place] = np.minimum(base, mirror) + columns[place]
    words = random_words(counter.astype(np.uint64), seed, stream)
    angle = (words >> np.uint64(40)).astype(np.float32) * _TURN
    factors = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=factors.real)
    np.sin(angle, out=factors.imag)
    for place in edges:
        factors.imag[base > mirror, place] *= -1
        own = base == mirror
        factors[own, place] = np.where(words[own, place] >> np.uint64(63), -1, 1)
    return factors


def randomise_phases(
    block: Complex,
    shells: Shells,
    *,
    first_shell: int,
    seed: int,
    stream: int,
    part: Part = ALL,
) -> None:
    """Turn the phases of all coefficients in shell `first_shell` and beyond, in place.

    Parameters
    ----------
    block
        (nz, rows, columns) complex64 coefficients of a real volume.
    shells
        Shells of the whole volume.
    first_shell
        Coefficients of lower shells stay as they are.
    seed, stream
        Same numbers, same phases.
    part
        Which rows (y) and columns (x) of the half space the block holds.

    Notes
    -----
    Chen et al. 2013, Ultramicroscopy 135, 24: the correlation that masking alone makes.
    """
    for z in range(shells.shape[0]):
        factors = phase_factors(shells, z, part, seed, stream)
        factors[shells.plane(z, part) < first_shell] = 1
        block[z] *= factors
