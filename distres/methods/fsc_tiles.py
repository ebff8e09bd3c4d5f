"""Tile functions of the global FSC: what one worker does with a slab, a column or the whole volume.

Two ways to the same shell sums. `whole` holds everything at once. For larger volumes the transform
is split: `planes` transforms z slabs over (y, x), `columns` goes on along z and sums shells;
`turn_phases` and `mask_again` take the phase-randomised copies back to real space and out again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from distres.engine.jobs import TileInputs, TileResult
from distres.kernels.randomise import randomise_phases
from distres.kernels.shells import Complex, Shells, fsc_of_sums, shell_sums, shells_of

Real = npt.NDArray[np.float32]
Parameters = Mapping[str, Any]

HALVES = ("half1", "half2")


def survey(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Take the moments of both halves and the state of the mask over one slab.

    Parameters
    ----------
    inputs
        ``half1``, ``half2`` and perhaps ``mask``.
    parameters
        ``corner``: first voxel of each half; ``output`` and ``divisor``: where block means of the
        squared mask go.
    """
    halves = [inputs.core(name) for name in HALVES]
    finite = [np.isfinite(half) for half in halves]
    row: dict[str, Any] = {
        "voxels": np.int64(halves[0].size),
        "nonfinite": np.array(
            [half.size - good.sum() for half, good in zip(halves, finite, strict=True)]
        ),
        "equal": np.int64((halves[0] == halves[1]).sum()),
        "constant": np.array(
            [int((half == c).sum()) for half, c in zip(halves, parameters["corner"], strict=True)]
        ),
        "moments": np.array([_moments(half) for half in halves]),
    }
    if "mask" not in inputs:
        return TileResult(row=row)
    mask = inputs.core("mask")
    solvent = mask <= 0
    row["solvent_moments"] = np.array([_moments(half[solvent]) for half in halves])
    row["mask_range"] = np.array([mask.min(), mask.max()], np.float64)
    row["mask_sum"] = np.float64(mask.sum(dtype=np.float64))
    row["mask_soft"] = np.int64(((mask > 0) & (mask < 1)).sum())
    row["mask_faces"] = np.int64(_on_faces(mask > 0, inputs))
    power = _block_mean(mask * mask, parameters["divisor"])
    return TileResult(arrays={parameters["output"]: power}, row=row)


def _moments(values: npt.NDArray[Any]) -> tuple[float, float, float]:
    good = values[np.isfinite(values)].astype(np.float64)
    return float(good.size), float(good.sum()), float(np.square(good).sum())


def _on_faces(inside: npt.NDArray[np.bool_], inputs: TileInputs) -> int:
    """Count the voxels of a block that lie on the faces of the volume, once for each face."""
    count = 0
    shape = inputs.sources["mask"].shape[-3:]
    for axis, (core, n) in enumerate(zip(inputs.tile.core, shape, strict=True)):
        if core.start == 0:
            count += int(np.take(inside, 0, axis=axis).sum())
        if core.stop == n:
            count += int(np.take(inside, -1, axis=axis).sum())
    return count


def _block_mean(values: Real, divisor: int) -> Real:
    if divisor == 1:
        return values
    padded = np.pad(values, [(0, -n % divisor) for n in values.shape])
    z, y, x = (n // divisor for n in padded.shape)
    blocks = padded.reshape(z, divisor, y, divisor, x, divisor)
    mean: Real = blocks.mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32)
    return mean


def read_normalised(
    inputs: TileInputs, name: str, parameters: Parameters, region: tuple[slice, ...]
) -> Real:
    """Read a half and bring it to mean 0 and standard deviation 1 of the whole volume.

    The FSC is blind to both, but float32 is not; and the mean, once masked, would look like signal.
    """
    which = HALVES.index(name)
    values = inputs.sources[name].read(region)
    mean, scale = parameters["mean"][which], parameters["scale"][which]
    normal: Real = np.subtract(values, np.float32(mean), dtype=np.float32)
    normal *= np.float32(scale)
    return normal


def whole(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Compute all shell sums of a volume that fits in memory, in one go.

    Returns
    -------
    Row ``sums`` (passes, 3, count + 1): unmasked, then with a mask masked and one pass per repeat;
    row ``first_shell``: where phase randomisation began.
    """
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    halves = [read_normalised(inputs, name, parameters, inputs.tile.core) for name in HALVES]
    spectra = [_forward(half) for half in halves]
    sums = [shell_sums(spectra[0], spectra[1], shells)]
    first = randomise_from(fsc_of_sums(sums[0]), shells, parameters["randomise_from_angstrom"])
    if "mask" in inputs:
        mask = inputs.core("mask")
        masked = []
        while halves:
            half = halves.pop(0)
            half *= mask
            masked.append(_forward(half))
            del half
        sums.append(shell_sums(masked[0], masked[1], shells))
        del masked
        for repeat in range(parameters["repeats"]):
            noise = [
                _masked_noise(spectra[which], mask, shells, first, parameters, repeat, which)
                for which in (0, 1)
            ]
            sums.append(shell_sums(noise[0], noise[1], shells))
            del noise
    return TileResult(row={"sums": np.stack(sums), "first_shell": np.int64(first)})


def _masked_noise(
    spectrum: Complex,
    mask: Real,
    shells: Shells,
    first_shell: int,
    parameters: Parameters,
    repeat: int,
    which: int,
) -> Complex:
    turned = spectrum.copy()
    stream = 2 * repeat + which
    randomise_phases(
        turned, shells, first_shell=first_shell, seed=parameters["seed"], stream=stream
    )
    real = _real_volume(turned, shells)
    del turned
    real *= mask
    return _forward(real)


def _forward(volume: Real) -> Complex:
    spectrum: Complex = scipy.fft.rfftn(volume)
    return spectrum


def _along_z(inputs: TileInputs, name: str) -> Complex:
    values: Complex = inputs.core(name)
    block: Complex = scipy.fft.fft(values, axis=0, overwrite_x=True)
    return block


def randomise_from(
    unmasked: npt.NDArray[np.float64], shells: Shells, angstrom: float | None
) -> int:
    """Return the shell at which phases start to be randomised.

    It is the first in which the unmasked FSC is below 0.8, unless the user named a resolution.
    Always at least 1 (the mean stays) and at most `count` (nothing below Nyquist is randomised).
    """
    if angstrom is not None:
        shell = round(1.0 / (angstrom * shells.width_per_angstrom))
    else:
        low = np.flatnonzero(unmasked[1:] < 0.8)
        shell = int(low[0]) + 1 if low.size else shells.count
    return min(max(shell, 1), shells.count)


def planes(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Transform one z slab of both halves over (y, x), as it is and times the mask."""
    ny, nx = parameters["shape"][1:]
    slab = (inputs.tile.core[0], slice(0, ny), slice(0, nx))
    mask = inputs.sources["mask"].read(slab) if "mask" in inputs else None
    arrays: dict[str, Complex] = {}
    for name in HALVES:
        half = read_normalised(inputs, name, parameters, slab)
        arrays[f"fsc/plain/{name}"] = scipy.fft.rfft2(half)
        if mask is not None:
            half *= mask
            arrays[f"fsc/masked/{name}"] = scipy.fft.rfft2(half)
    return TileResult(arrays=arrays)


def columns(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Finish the transform along z for some columns, and sum their shells.

    Inputs come in pairs, in order; the row ``sums`` is (pairs, 3, count + 1).
    """
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    sums = []
    for pair in parameters["pairs"]:
        first, second = (_along_z(inputs, name) for name in pair)
        sums.append(shell_sums(first, second, shells, inputs.tile.core[1:]))
        del first, second
    return TileResult(row={"sums": np.stack(sums)})


def turn_phases(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Randomise phases of some columns, and transform back along z."""
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    arrays: dict[str, Complex] = {}
    for which, name in enumerate(HALVES):
        block = _along_z(inputs, name)
        randomise_phases(
            block,
            shells,
            first_shell=parameters["first_shell"],
            seed=parameters["seed"],
            stream=2 * parameters["repeat"] + which,
            part=inputs.tile.core[1:],
        )
        target = f"{parameters['prefix']}/turned/{name}"
        turned: Complex = scipy.fft.ifft(block, axis=0, overwrite_x=True)
        arrays[target] = turned
    return TileResult(arrays=arrays)


def mask_again(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Take one z slab of the turned halves to real space, mask it, and transform it again."""
    ny, nx = parameters["shape"][1:]
    mask = inputs.sources["mask"].read((inputs.tile.core[0], slice(0, ny), slice(0, nx)))
    arrays: dict[str, Complex] = {}
    for name in HALVES:
        real = _real_planes(inputs.core(name), (ny, nx))
        real *= mask
        arrays[f"{parameters['prefix']}/masked/{name}"] = scipy.fft.rfft2(real)
    return TileResult(arrays=arrays)


def _real_planes(block: Complex, shape: tuple[int, int]) -> Real:
    real: Real = scipy.fft.irfft2(block, s=shape, overwrite_x=True)
    return real


def _real_volume(spectrum: Complex, shells: Shells) -> Real:
    real: Real = scipy.fft.irfftn(spectrum, s=shells.shape, overwrite_x=True)
    return real
