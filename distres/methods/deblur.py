"""LocalDeblur of volumes of any size: two tile jobs an iteration, steps and stops by reductions.

The model (Ramirez-Aportela et al. 2020, section 2.1): the observed map is ``v_obs = H v``, H passes
at every voxel what lies near its local resolution, and v is found by steepest descent on
``|v_obs - H v|^2 + |v|^2 / SNR``::

    v <- v + lambda (H' (v_obs - H v) - v / SNR),    lambda = |v_obs| / |H v_obs| / 10

until an iteration changes the map by less than 1 %. ``blur`` is our variant (docs/deblur.md): the
same problem with H a low-pass in the plain sense.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import zarr

from distres.engine.cluster import Executor
from distres.engine.fingerprint import canonical, differences
from distres.engine.jobs import Source
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.engine.tiles import TilePlan
from distres.errors import ResumeError
from distres.methods.deblur_passes import Passes, gain_path, map_path, residual_path
from distres.methods.deblur_plan import DeblurParameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One iteration: numbers relative to the norm of the observed map where not said otherwise.

    Attributes
    ----------
    number
        From 1.
    change
        Norm of the change, relative to the map before.
    residual
        Norm of ``v_obs - H v`` before the step.
    blurred
        Norm of ``H v`` before the step.
    norm
        Norm of the map after the step.
    """

    number: int
    change: float
    residual: float
    blurred: float
    norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeblurResult:
    """What LocalDeblur left in the run's store.

    Attributes
    ----------
    path
        The sharpened map, (z, y, x) float32.
    gain
        Growth of amplitudes near the local resolution, NaN outside the mask.
    iterations
        All of them, in order.
    converged
        Whether the stopping rule ended it.
    step, damping, k_per_square_angstrom
        lambda, 1 / SNR and K in force.
    bands
        Number of bands.
    plan
        Tiles of an iteration.
    profiles
        Rows of the last pass: radial power of input and output, logarithms of the gain.
    """

    path: str
    gain: str
    iterations: tuple[Iteration, ...]
    converged: bool
    step: float
    damping: float
    k_per_square_angstrom: float
    bands: int
    plan: TilePlan
    profiles: Table


def run_deblur(
    passes: Passes,
    run: Run,
    executor: Executor,
    watch: Callable[[Iteration], None] | None = None,
) -> DeblurResult:
    """Iterate to the end; what a stopped run has finished is not computed again.

    Parameters
    ----------
    passes
        What to compute.
    run, executor
        Where.
    watch
        Told of every iteration.

    Raises
    ------
    ResumeError
        The run was begun with other inputs or parameters.
    """
    history = _recalled(passes, run)
    step = float(run.remembered("deblur").get("step", 0.0))
    number = len(history)
    while not _finished(history, passes.parameters):
        number += 1
        before = _first(passes, run, executor) if number == 1 else output(run, map_path(number - 1))
        if number > 1 and len(passes.plan) == 1:
            table = run_job(passes.iteration(number, before, step), run=run, executor=executor)
            moved = table
        else:
            table = run_job(passes.residual(number, before), run=run, executor=executor)
            if number == 1:
                step = passes.first_step(table)
                run.remember("deblur", "step", step)
            residual = output(run, residual_path(number))
            moved = run_job(passes.step(number, before, residual, step), run=run, executor=executor)
        history.append(_iteration(number, table, moved))
        run.remember("deblur", f"iteration {number}", asdict(history[-1]))
        # After the note: a run that is stopped between finds what the note says is there.
        _drop(run, residual_path(number), map_path(number - 2))
        (watch or _log)(history[-1])
    last = output(run, map_path(number))
    profiles = run_job(passes.gain(number, last), run=run, executor=executor)
    return DeblurResult(
        path=map_path(number),
        gain=gain_path(number),
        iterations=tuple(history),
        converged=_converged(history, passes.parameters),
        step=step,
        damping=passes.damping,
        k_per_square_angstrom=passes.parameters.k(passes.field.median_angstrom),
        bands=len(passes.settings["bands"].get("centre_per_angstrom", ())),
        plan=passes.plan,
        profiles=profiles,
    )


def _first(passes: Passes, run: Run, executor: Executor) -> Source:
    """Return the map that iterations begin with."""
    if passes.parameters.model != "blur":
        return passes.observed
    run_job(passes.start(), run=run, executor=executor)
    return output(run, map_path(0))


def _iteration(number: int, table: Table, moved: Table) -> Iteration:
    observed = sqrt(float(table.sum("observed")))
    before = sqrt(float(moved.sum("before")))
    return Iteration(
        number=number,
        change=sqrt(float(moved.sum("change"))) / before if before > 0 else 0.0,
        residual=sqrt(float(table.sum("residual"))) / observed,
        blurred=sqrt(float(table.sum("blurred"))) / observed,
        norm=sqrt(float(moved.sum("after"))) / observed,
    )


def _log(iteration: Iteration) -> None:
    logger.info(
        "iteration %d: change %.2f %%, residual %.4f, norm %.4f of the map",
        iteration.number,
        100 * iteration.change,
        iteration.residual,
        iteration.norm,
    )


def _finished(history: Sequence[Iteration], parameters: DeblurParameters) -> bool:
    return len(history) >= parameters.iterations or _converged(history, parameters)


def _converged(history: Sequence[Iteration], parameters: DeblurParameters) -> bool:
    if parameters.model != "xmipp":
        return bool(history) and history[-1].change < parameters.change
    if len(history) < 3:
        return False
    ratios = [100 * a.blurred / b.blurred for a, b in zip(history[-3:], history[-2:], strict=False)]
    return ratios[1] - ratios[0] < 1


def _recalled(passes: Passes, run: Run) -> list[Iteration]:
    """Return the iterations that an earlier process finished with the same settings."""
    binding = _binding(passes)
    kept: Mapping[str, Any] = run.remembered("deblur")
    if "binding" not in kept:
        run.remember("deblur", "binding", binding)
        return []
    changed = differences(kept["binding"], binding)
    if changed:
        raise ResumeError(
            f"deblur: the stored run differs from this one: {'; '.join(changed[:3])}; give the "
            "stored values, or use --overwrite or another --output"
        )
    history: list[Iteration] = []
    while entry := kept.get(f"iteration {len(history) + 1}"):
        history.append(Iteration(**entry))
        if _finished(history, passes.parameters):
            break
    if history and map_path(len(history)) not in zarr.open_group(run.store, mode="r"):
        done = sum(key.startswith("iteration") for key in kept)
        raise ResumeError(
            f"deblur: {done} iterations are done and earlier maps are not kept; give "
            f"--iterations {done} or more, or use --overwrite or another --output"
        )
    if history:
        logger.info("deblur: %d iterations are done already", len(history))
        _drop(run, residual_path(len(history)), map_path(len(history) - 2))
    return history


def _binding(passes: Passes) -> dict[str, Any]:
    """Return what decides every iteration but how many there are."""
    shared = {**passes.settings, "model": passes.parameters.model}
    inputs = {"map": passes.observed.identity(), "resolution": passes.field.source.identity()}
    plan = {"core": passes.plan.core, "change": passes.parameters.change}
    found: dict[str, Any] = canonical({"parameters": shared, "inputs": inputs, "plan": plan})
    return found


def _drop(run: Run, *paths: str) -> None:
    group = zarr.open_group(run.store, mode="a")
    for path in paths:
        if path in group:
            del group[path]
