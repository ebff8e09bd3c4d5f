"""Half spectra of real fields moved from one grid to another, and inverted only where wanted."""

import torch

from distres.kernels import fourier
from distres.kernels.centred import Shape3, empty


def filtered_half(spectrum: torch.Tensor, gain: torch.Tensor, box: Shape3) -> torch.Tensor:
    """Filter a half spectrum in place by an octant of gains."""
    index = [torch.fft.fftfreq(n, 1 / n, device=gain.device).abs().long() for n in box[:2]]
    full = gain.index_select(1, index[1]).index_select(0, index[0])
    torch.view_as_real(spectrum).mul_(full[..., None])
    return spectrum


def cropped_half(
    spectrum: torch.Tensor, gain: torch.Tensor, box: Shape3, shape: Shape3
) -> torch.Tensor:
    """Filter the half spectrum of `box` and keep the frequencies that `shape` has too.

    Parameters
    ----------
    spectrum
        (z, y, x // 2 + 1) complex, of a field on `box`.
    gain
        Octant of gains for the frequencies of both boxes.
    box, shape
        Box of the field, and of what it will become.

    Returns
    -------
    tensor
        Along z and y the non-negative frequencies, then the negative ones. The highest one of an
        even axis is left out when the boxes differ there: it has no partner of the other sign.
    """
    kept = [
        n if n == m else 2 * ((min(n, m) - 1) // 2) + 1 for n, m in zip(box, shape, strict=True)
    ]
    out = empty((kept[0], kept[1], kept[2] // 2 + 1), spectrum.dtype, spectrum.device)
    x = slice(0, out.shape[2])
    for z in _signed_runs(box[0], kept[0]):
        for y in _signed_runs(box[1], kept[1]):
            weight = gain[z[2]][:, y[2]][:, :, x]
            torch.mul(spectrum[z[0], y[0], x], weight, out=out[z[1], y[1], x])
    return out


def padded_inverse(
    spectrum: torch.Tensor, shape: Shape3, keep: tuple[slice, ...] | None = None
) -> torch.Tensor:
    """Invert what `cropped_half` made on a grid that holds it.

    Axis by axis: an axis is padded when its turn comes, and cut to what is wanted right after, so
    that little more is transformed than there is to know and to tell.

    Parameters
    ----------
    spectrum
        See `cropped_half`.
    shape
        Grid (z, y, x).
    keep
        Slices of it that are wanted; None for all.

    Returns
    -------
    tensor
        (z, y, x) float32, divided by the number of voxels of `shape`.
    """
    wanted = keep or tuple(slice(0, n) for n in shape)
    for axis in (0, 1):
        if spectrum.shape[axis] < shape[axis]:
            spectrum = _padded(spectrum, axis, shape[axis])
        part = wanted[axis]
        inverse = fourier.ifft_along(spectrum, axis)
        spectrum = inverse.narrow(axis, part.start, part.stop - part.start)
    return fourier.irfft_along_x(spectrum, shape[2])[..., wanted[2]]


def _padded(spectrum: torch.Tensor, axis: int, n: int) -> torch.Tensor:
    """Put zeros between the positive and the negative frequencies of an odd axis."""
    half = spectrum.shape[axis] // 2
    size = list(spectrum.shape)
    size[axis] = n
    padded = empty((size[0], size[1], size[2]), spectrum.dtype, spectrum.device).zero_()
    padded.narrow(axis, 0, half + 1).copy_(spectrum.narrow(axis, 0, half + 1))
    padded.narrow(axis, n - half, half).copy_(spectrum.narrow(axis, half + 1, half))
    return padded


def _signed_runs(source: int, kept: int) -> tuple[tuple[slice, slice, torch.Tensor], ...]:
    """Place the non-negative and the negative frequencies in `source`, in the answer, as |k|."""
    more, less = (kept + 1) // 2, kept // 2
    positive = (slice(0, more), slice(0, more), torch.arange(more))
    if less == 0:
        return (positive,)
    return positive, (
        slice(source - less, source),
        slice(more, kept),
        torch.arange(less, 0, -1),
    )
