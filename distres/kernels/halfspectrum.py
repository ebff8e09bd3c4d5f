"""Half spectra of which only low frequencies are kept: filtered, moved to other grids, inverted.

Along z and y the frequencies from 0 on are kept and then as many negative ones, or all of an axis;
along x those from 0 on.
"""

from collections.abc import Iterator, Sequence

import torch

from distres.kernels import fourier
from distres.kernels.centred import empty


def filter_half(spectrum: torch.Tensor, gain: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Multiply a half spectrum by an even gain and keep as many low frequencies as `out` holds.

    Parameters
    ----------
    spectrum
        (z, y, x) complex64.
    gain
        One octant, from frequency 0 to the highest that is kept; complex like the spectrum, which
        multiplies thrice as fast as a real one.
    out
        The answer; may be the spectrum itself.
    """
    x = slice(0, out.shape[2])
    for z_from, z_to in _runs(spectrum.shape[0], out.shape[0]):
        upper = _of_run(gain, 0, z_to)
        for y_from, y_to in _runs(spectrum.shape[1], out.shape[1]):
            weight = _of_run(upper, 1, y_to)[:, :, x]
            torch.mul(spectrum[z_from, y_from, x], weight, out=out[z_to, y_to])
    return out


def crop_along(lines: torch.Tensor, axis: int, kept: int) -> torch.Tensor:
    """Keep the low frequencies of an axis (z or y)."""
    n = lines.shape[axis]
    if kept == n:
        return lines
    parts = [
        lines.narrow(axis, source.start, source.stop - source.start) for source, _ in _runs(n, kept)
    ]
    return torch.cat(parts, dim=axis)


def inverse_half(
    spectrum: torch.Tensor, shape: Sequence[int], keep: tuple[slice, ...] | None = None
) -> torch.Tensor:
    """Invert on a grid that holds the frequencies kept, all others being 0.

    Axis by axis: an axis is padded when its turn comes, and cut to what is wanted right after, so
    that little more is transformed than there is to know and to tell.

    Parameters
    ----------
    spectrum
        Its memory may be used as scratch.
    shape
        Grid (z, y, x).
    keep
        Slices of it that are wanted; None for all.

    Returns
    -------
    tensor
        (z, y, x) float32, divided by the number of voxels of `shape`.
    """
    if keep is None and tuple(spectrum.shape) == (shape[0], shape[1], shape[2] // 2 + 1):
        return fourier.irfftn(spectrum, shape)
    wanted = keep or tuple(slice(0, n) for n in shape)
    for axis in (0, 1):
        part = wanted[axis]
        inverse = fourier.ifft_along(_padded(spectrum, axis, shape[axis]), axis)
        spectrum = inverse.narrow(axis, part.start, part.stop - part.start)
    return fourier.irfft_along_x(spectrum, shape[2])[..., wanted[2]]


def _padded(spectrum: torch.Tensor, axis: int, n: int) -> torch.Tensor:
    """Put zeros between the frequencies from 0 on and the negative ones."""
    kept = spectrum.shape[axis]
    if kept == n:
        return spectrum
    size = list(spectrum.shape)
    size[axis] = n
    padded = empty((size[0], size[1], size[2]), spectrum.dtype, spectrum.device).zero_()
    for there, here in _runs(n, kept):
        length = here.stop - here.start
        padded.narrow(axis, there.start, length).copy_(spectrum.narrow(axis, here.start, length))
    return padded


def _runs(n: int, kept: int) -> Iterator[tuple[slice, slice]]:
    """Place the frequencies from 0 on, then the negative ones, in n and among those kept."""
    first = kept // 2 + 1
    yield slice(0, first), slice(0, first)
    if kept > first:
        yield slice(n - kept + first, n), slice(first, kept)


def _of_run(gain: torch.Tensor, axis: int, run: slice) -> torch.Tensor:
    """Return the gains of a run: of the frequencies from 0 on, or mirrored for negative ones."""
    length = run.stop - run.start
    if run.start == 0:
        return gain.narrow(axis, 0, length)
    return gain.narrow(axis, 1, length).flip(axis)
