"""Tile functions of LocalDeblur: the two halves of an iteration, the gain.

The box is continued periodically, as in one transform of the whole: tiles at its faces read their
halo from the other side, so that they see what the whole volume sees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.kernels.deblur import LocalBlur
from distres.kernels.deblur_bands import Bands
from distres.kernels.deblur_bank import RANK_TOLERANCE, Bank, make_bank, make_gaussian_bank
from distres.kernels.guinier import radial_power
from distres.kernels.lowspectrum import gaussian_mean
from distres.methods.localfsc_tiles import pick_device
from distres.methods.periodic import Reach

GAIN_SIGMA_VOX = 4.0
# A picture of the gain needs H to 1 %.
GAIN_TOLERANCE = 1e-2

Parameters = Mapping[str, Any]


def moments_of(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return count, sum and sum of squares."""
    return float(values.size), float(values.sum()), float((values * values).sum())


def bank_of(
    parameters: Parameters,
    finest_angstrom: float,
    coarsest_angstrom: float,
    *,
    wiener: bool = False,
    tolerance: float = RANK_TOLERANCE,
) -> Bank:
    """Return H, or its Wiener filter, for a range of resolutions.

    Parameters
    ----------
    parameters
        Those of `residual_tile`.
    """
    ends = {
        "highest_angstrom": finest_angstrom,
        "lowest_angstrom": coarsest_angstrom,
        "top_per_angstrom": parameters["top_per_angstrom"],
        "tolerance": tolerance,
    }
    if parameters["amplitude"] is not None:
        damping = parameters["damping"] if wiener else None
        return make_gaussian_bank(amplitude=parameters["amplitude"], damping=damping, **ends)
    bands = {name: np.asarray(values, np.float64) for name, values in parameters["bands"].items()}
    k = parameters["k_per_square_angstrom"]
    return make_bank(Bands(**bands), k_per_square_angstrom=k, **ends)


def _operator(
    inputs: TileInputs,
    parameters: Parameters,
    reach: Reach,
    device: torch.device,
    *,
    wiener: bool = False,
    tolerance: float = RANK_TOLERANCE,
) -> LocalBlur | None:
    """Build H from the resolutions that occur in the block; None where it is 0 throughout."""
    resolution = reach.read(inputs.sources["resolution"])
    inside = np.isfinite(resolution)
    if parameters["fallback_angstrom"] is not None:
        # Far from the particle everything is as coarse as it gets.
        resolution[~inside] = parameters["fallback_angstrom"]
        inside[...] = True
    if not inside.any():
        return None
    finest, coarsest = float(resolution[inside].min()), float(resolution[inside].max())
    resolution[~inside] = finest
    dz, dy, dx = parameters["voxel_size_angstrom"]
    return LocalBlur(
        bank_of(parameters, finest, coarsest, wiener=wiener, tolerance=tolerance),
        torch.from_numpy(resolution).to(device),
        torch.from_numpy(inside).to(device),
        (dz, dy, dx),
    )


def _reach(inputs: TileInputs, parameters: Parameters, source: str) -> Reach:
    hz, hy, hx = parameters["halo_vox"]
    return Reach.of(inputs.tile.core, (hz, hy, hx), inputs.sources[source].shape[-3:])


def _squares(values: Array) -> np.float64:
    rows = values.reshape(-1, values.shape[-1])
    # Lines are summed in float32, 1e-6 of their sum; the lines in float64.
    return np.float64(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64))


def start_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Return the map filtered as if the resolution of each voxel held everywhere.

    Parameters
    ----------
    inputs
        ``map``, ``resolution``.
    parameters
        Those of `residual_tile`.
    """
    device = pick_device(parameters["device"])
    reach = _reach(inputs, parameters, "map")
    operator = _operator(inputs, parameters, reach, device, wiener=True)
    block = torch.from_numpy(reach.read(inputs.sources["map"])).to(device)
    filtered = block if operator is None else operator.forward(block)
    return TileResult(arrays={parameters["output"]: filtered[reach.crop].cpu().numpy()})


def residual_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Return ``r = v_obs - H v`` and the squared norms of v_obs, H v and r.

    Parameters
    ----------
    inputs
        ``iterate`` (v), ``map`` (v_obs), ``resolution``.
    parameters
        ``bands`` (fields of `Bands`), ``k_per_square_angstrom``, ``top_per_angstrom``,
        ``voxel_size_angstrom``, ``halo_vox`` (z, y, x), ``fallback_angstrom`` (None: H is 0 where
        no resolution is known), ``amplitude`` (None: H is made of bands), ``damping`` (1 / SNR),
        ``device``, ``output``.
    """
    device = pick_device(parameters["device"])
    reach = _reach(inputs, parameters, "iterate")
    operator = _operator(inputs, parameters, reach, device)
    observed = np.asarray(inputs.core("map"), np.float32)
    block = reach.read(inputs.sources["iterate"])
    residual, row = _residual(operator, block, observed, reach, device)
    return TileResult(arrays={parameters["output"]: residual}, row=row)


def _residual(
    operator: LocalBlur | None, block: Array, observed: Array, reach: Reach, device: torch.device
) -> tuple[Array, dict[str, np.float64]]:
    if operator is None:
        blurred = np.zeros_like(observed)
    else:
        blurred = operator.forward(torch.from_numpy(block).to(device))[reach.crop].cpu().numpy()
    residual = observed - blurred
    row = {
        "observed": _squares(observed),
        "blurred": _squares(blurred),
        "residual": _squares(residual),
    }
    return residual, row


def step_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Return ``v + lambda (H' r - v / SNR)`` and the squared norms of it and of the change.

    Parameters
    ----------
    inputs
        ``iterate`` (v), ``residual`` (r), ``resolution``.
    parameters
        Those of `residual_tile`, and ``step`` (lambda), ``adjoint`` (False applies H instead of its
        transpose), ``floor`` (least value, None for none).
    """
    device = pick_device(parameters["device"])
    reach = _reach(inputs, parameters, "residual")
    operator = _operator(inputs, parameters, reach, device)
    before = np.asarray(inputs.core("iterate"), np.float32)
    block = reach.read(inputs.sources["residual"])
    after, row = _stepped(operator, block, before, reach, parameters, device)
    return TileResult(arrays={parameters["output"]: after}, row=row)


def _stepped(
    operator: LocalBlur | None,
    residual: Array,
    before: Array,
    reach: Reach,
    parameters: Parameters,
    device: torch.device,
) -> tuple[Array, dict[str, np.float64]]:
    gradient = -np.float32(parameters["damping"]) * before
    if operator is not None:
        block = torch.from_numpy(residual).to(device)
        applied = operator.adjoint(block) if parameters["adjoint"] else operator.forward(block)
        gradient += applied[reach.crop].cpu().numpy()
    after = before + np.float32(parameters["step"]) * gradient
    if parameters["floor"] is not None:
        np.maximum(after, np.float32(parameters["floor"]), out=after)
    row = {"change": _squares(after - before), "before": _squares(before), "after": _squares(after)}
    return after, row


def iteration_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Return what `step_tile` makes of `residual_tile`: for a tile that is the whole box.

    Parameters
    ----------
    inputs
        ``iterate`` (v), ``map`` (v_obs), ``resolution``.
    parameters
        Those of `step_tile`.
    """
    device = pick_device(parameters["device"])
    reach = _reach(inputs, parameters, "iterate")
    operator = _operator(inputs, parameters, reach, device)
    before = reach.read(inputs.sources["iterate"])
    observed = np.asarray(inputs.core("map"), np.float32)
    residual, first = _residual(operator, before, observed, reach, device)
    after, second = _stepped(operator, residual, before, reach, parameters, device)
    return TileResult(arrays={parameters["output"]: after}, row={**first, **second})


def gain_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Return how much amplitudes near the local resolution grew, and both maps' radial power.

    The gain is ``sqrt(<(H x)^2> / <(H v)^2>)``, averaged in a Gaussian window: H, which need not
    be exact for it, passes what lies near the local resolution. NaN outside the mask.

    Parameters
    ----------
    inputs
        ``iterate`` (x, the result), ``map`` (v), ``resolution``, perhaps ``mask``.
    parameters
        Those of `residual_tile`, and ``nyquist_per_angstrom``.
    """
    device = pick_device(parameters["device"])
    tile = inputs.tile
    weight = inputs.core("mask") if "mask" in inputs else None
    known = np.ones(tile.core_shape, bool) if weight is None else weight >= 0.5
    reach = _reach(inputs, parameters, "iterate")
    operator = None
    if known.any():
        operator = _operator(inputs, parameters, reach, device, tolerance=GAIN_TOLERANCE)
    passed = []
    row: dict[str, Any] = {}
    for name in ("iterate", "map"):
        block = reach.read(inputs.sources[name])
        sums, counts = _power(block[reach.crop], weight, inputs.sources[name].shape, parameters)
        row |= {f"power_{name}": sums, f"coefficients_{name}": counts}
        if operator is not None:
            squares = operator.forward(torch.from_numpy(block).to(device)).square_()
            passed.append(gaussian_mean(squares, GAIN_SIGMA_VOX)[reach.crop].cpu().numpy())
    gain = np.full(tile.core_shape, np.nan, np.float32)
    if passed:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.sqrt(passed[0] / passed[1])
        gain[known & np.isfinite(found)] = found[known & np.isfinite(found)]
    logs = np.log(gain[np.isfinite(gain) & (gain > 0)].astype(np.float64))
    row["logs"] = np.array(moments_of(logs))
    return TileResult(arrays={parameters["output"]: gain}, row=row)


def core_power(inputs: TileInputs, parameters: Parameters, name: str) -> tuple[Array, Array]:
    """Return the radial power of the core of one input, as `_power` does."""
    mask = inputs.core("mask") if "mask" in inputs else None
    core = np.asarray(inputs.core(name), np.float32)
    return _power(core, mask, inputs.sources[name].shape, parameters)


def _power(
    core: Array, mask: Array | None, shape: tuple[int, ...], parameters: Parameters
) -> tuple[Array, Array]:
    """Return the radial power of a core inside the mask, faded out where the core cuts the box."""
    if mask is not None:
        core = core * mask
    for axis, n in enumerate(shape[-3:]):
        length = core.shape[axis]
        if length < n:
            window = np.hanning(length + 2)[1:-1].astype(np.float32)
            core = core * window.reshape([-1 if a == axis else 1 for a in range(3)])
    return radial_power(
        torch.from_numpy(np.ascontiguousarray(core, np.float32)),
        parameters["voxel_size_angstrom"],
        parameters["nyquist_per_angstrom"],
    )
