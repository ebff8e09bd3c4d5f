"""Spectra with zero frequency in the middle, and filters of |u| on them, in few passes.

A band is then one slice of the spectrum, and a filter needs to be computed on one octant only.
"""

import numpy as np
import torch

# Passes over so many voxels (complex64: 512 kB) are served by the cache of one core.
SLAB_VOXELS = 1 << 16

Shape3 = tuple[int, int, int]
Float3 = tuple[float, float, float]


def empty(shape: Shape3, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Allocate a block of unset values.

    NumPy asks the operating system for huge pages; torch does not, and then page faults cost more
    than the arithmetic of a pass over the block.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    kind = np.complex64 if dtype.is_complex else np.float32
    return torch.from_numpy(np.empty(shape, dtype=kind))


def scale(spectrum: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """Multiply complex (z, y, x) by real factors that are given twice along x.

    As plain float rows this runs three times as fast as with a factor spread over pairs.
    """
    torch.mul(
        torch.view_as_real(spectrum).flatten(-2),
        weight,
        out=torch.view_as_real(out).flatten(-2),
    )


def modulus(field: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Write the modulus of complex values to `out` and return it.

    On a CPU by NumPy, whose loop is vectorised: five times as fast as torch's.
    """
    if field.device.type == "cpu":
        np.abs(field.numpy(), out=out.numpy())
        return out
    return torch.abs(field, out=out)


def middle(shape: Shape3, box: Shape3) -> tuple[slice, ...]:
    """Slices that cut a box around zero frequency out of a centred spectrum."""
    return tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(shape, box, strict=True)
    )


def octant_norm(shape: Shape3, box: Shape3, voxel: Float3, device: torch.device) -> torch.Tensor:
    """Return |u| in 1/angstrom for the frequencies 0 .. box // 2 of a block of `shape`."""
    squares = [
        (torch.arange(m // 2 + 1, device=device, dtype=torch.float64) / (n * d)).square()
        for n, m, d in zip(shape, box, voxel, strict=True)
    ]
    sums = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    return sums.sqrt().to(torch.float32)


def mirrored(octant: torch.Tensor, box: Shape3) -> torch.Tensor:
    """Expand an even function of the frequency along x of a centred box, each value twice.

    The z and y axes stay folded, so that this is a quarter of a block; see `planes`.
    """
    # As complex numbers pairs are copied in one piece; gathering floats takes six times as long.
    pairs = torch.complex(octant, octant)
    rows = torch.cat([pairs[..., 1:].flip(2), pairs[..., : box[2] - box[2] // 2]], dim=2)
    return torch.view_as_real(rows).flatten(-2)


def planes(quarter: torch.Tensor, box: Shape3, slab: slice) -> torch.Tensor:
    """Unfold a slab of planes from what `mirrored` made: so little that it stays in the cache."""
    z, y = (folded(n, quarter.device) for n in box[:2])
    first = int(slab.start - box[0] // 2)
    part = quarter.narrow(0, abs(first), 1) if slab.stop == slab.start + 1 else quarter[z[slab]]
    return part.index_select(1, y)


def folded(n: int, device: torch.device) -> torch.Tensor:
    """Return |k| for the indices k of a centred axis."""
    return torch.arange(-(n // 2), (n + 1) // 2, device=device).abs()


def slabs(box: Shape3, device: torch.device) -> list[slice]:
    """Cut a box along z: on a CPU so small that several passes over a slab stay in its cache."""
    thick = box[0]
    if device.type == "cpu":
        thick = max(1, SLAB_VOXELS // (box[1] * box[2]))
    return [slice(i, min(i + thick, box[0])) for i in range(0, box[0], thick)]


def shifted(n: int) -> tuple[tuple[slice, slice], ...]:
    """Places in a centred and in a plain spectrum of the two halves of an axis."""
    half = n // 2
    halves = (
        (slice(half, n), slice(0, n - half)),
        (slice(0, half), slice(n - half, n)),
    )
    return halves if half else halves[:1]
