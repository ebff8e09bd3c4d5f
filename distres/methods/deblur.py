"""LocalDeblur of volumes of any size: two tile jobs an iteration, steps and stops by reductions.

The model (Ramirez-Aportela et al. 2020, section 2.1): the observed map is ``v_obs = H v``, H passes
at every voxel what lies near its local resolution, and v is found by steepest descent on
``|v_obs - H v|^2 + |v|^2 / SNR``::

    v <- v + lambda (H' (v_obs - H v) - v / SNR),    lambda = |v_obs| / |H v_obs| / 10

until an iteration changes the map by less than 1 %.

Bands and halo. A tile must hold the kernels of H. A raised cosine of half-width w has a kernel
of about 1 / w, so that bands are made no narrower than `NARROWEST_VOX` allows, whatever the
resolution: at low resolution that is wider than the paper's 0.2 angstrom, and it is also what
gives every frequency support there. The halo is then the distance beyond which a kernel's tail is
1 % of it (`distres.kernels.deblur.reach_angstrom`); a residual is multiplied by lambda H', which
changes the map by a tenth of its norm at first and less later, so that cutting there changes each
iteration by less than 0.1 x (1 % + 1 %) = 0.2 % of the map.

``blur`` is our variant (docs/deblur.md): the same problem with H a low-pass in the plain sense.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, hypot, inf, sqrt
from typing import Any

import numpy as np
import zarr

from distres.engine.cluster import Executor
from distres.engine.fingerprint import canonical, differences
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.engine.tiles import Shape3, TilePlan
from distres.errors import ResumeError, UsageError
from distres.io.grid import Grid
from distres.kernels.deblur import Bands, covering_bands, reach_angstrom, released_bands
from distres.methods.deblur_tiles import (
    GAIN_SIGMA_VOX,
    GAIN_TRUNCATE,
    bank_of,
    gain_tile,
    residual_tile,
    start_tile,
    step_tile,
)

logger = logging.getLogger(__name__)

MODELS = ("paper", "blur", "xmipp")
K_FINE, K_COARSE, COARSE_ANGSTROM = 0.025, 0.01, 6.0
NARROWEST_VOX = 25.0
HALO_TAIL = 0.01
# exp(-K R^2) of bands this far beyond the coarsest resolution is below 1 %.
BEYOND = 4.6
BYTES_PER_VOXEL = 210.0
SNR_AT_RESOLUTION = 2 * 0.143 / (1 - 0.143)
# What `blur` leaves of amplitudes at the local resolution.
AMPLITUDE = 0.1
# Kernels of `blur` reach 2.3 times the resolution: coarser voxels count as this coarse.
COARSEST_VOX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeblurParameters:
    """What decides the answer of LocalDeblur.

    Attributes
    ----------
    model
        ``paper``; or ``blur``: H is a Gaussian low-pass that leaves `amplitude` at the local
        resolution, and iterations begin at the Wiener filter of each voxel's own resolution; or
        ``xmipp``: the iteration of Xmipp's program, with its bands, without SNR term, a step of
        1/12, H in the place of its transpose, and a floor.
    k_per_square_angstrom
        K of the weights; None takes 0.025, or 0.01 where the median resolution is worse than 6
        angstrom (the paper's advice; not for ``xmipp``).
    iterations
        At most so many.
    change
        Stop when an iteration changes the map by less than this part.
    snr
        Signal-to-noise ratio; None measures it inside and outside the mask. ``blur`` has another
        one: at the local resolution, where None takes that of an FSC of 0.143, 1/3.
    amplitude
        Of ``blur``.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    model: str = "paper"
    k_per_square_angstrom: float | None = None
    iterations: int = 50
    change: float = 0.01
    snr: float | None = None
    amplitude: float = AMPLITUDE
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"model '{self.model}' is unknown; use {' or '.join(MODELS)}")
        k = self.k_per_square_angstrom
        if k is not None and not 0 < k <= 10:
            raise UsageError(f"K must lie between 0 and 10, not {k:g}; the paper uses 0.01 to 0.05")
        if self.iterations < 1:
            raise UsageError(f"{self.iterations} iterations change nothing; use 1 or more")
        if not 0 <= self.change < 1:
            raise UsageError(f"the change that stops lies between 0 and 1, not {self.change:g}")
        if not 0.001 <= self.amplitude <= 0.9:
            raise UsageError(
                f"the amplitude left at the local resolution lies between 0.001 and 0.9, not "
                f"{self.amplitude:g}"
            )
        if self.snr is not None and not self.snr > 0:
            raise UsageError(f"the signal-to-noise ratio must be positive, not {self.snr:g}")

    def damping(self, measured_snr: float) -> float:
        """Return 1 / SNR: of the whole map, or of ``blur`` at frequency 0."""
        if self.model == "xmipp":
            return 0.0
        if self.model == "blur":
            return self.amplitude**2 / (self.snr or SNR_AT_RESOLUTION)
        return 1 / (self.snr or measured_snr)

    def k(self, median_angstrom: float) -> float:
        """Return K for a map of this median resolution."""
        if self.k_per_square_angstrom is not None:
            return self.k_per_square_angstrom
        coarse = self.model != "xmipp" and median_angstrom > COARSE_ANGSTROM
        return K_COARSE if coarse else K_FINE


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionField:
    """A resolution map that was read, and what was counted with it.

    Attributes
    ----------
    source
        (z, y, x) angstrom, NaN beyond the reach of its extension.
    finest_angstrom, coarsest_angstrom, median_angstrom
        Of defined voxels inside the mask.
    signal_variance, noise_variance
        Of the map inside and outside the mask; the latter 0 without an outside.
    empty_deviation
        Standard deviation of the map where no resolution is given; 0 without such voxels.
    """

    source: Source
    finest_angstrom: float
    coarsest_angstrom: float
    median_angstrom: float
    signal_variance: float
    noise_variance: float
    empty_deviation: float

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio of the paper; infinite without noise outside the mask."""
        return self.signal_variance / self.noise_variance if self.noise_variance > 0 else inf


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


def map_path(number: int) -> str:
    """Return where the map of one iteration lies in the run's store."""
    return f"deblur/map/{number}"


def residual_path(number: int) -> str:
    """Return where the residual of one iteration lies in the run's store."""
    return f"deblur/residual/{number}"


def gain_path(number: int) -> str:
    """Return where the gain after so many iterations lies."""
    return f"deblur/gain/{number}"


def choose_bands(grid: Grid, field: ResolutionField, parameters: DeblurParameters) -> Bands:
    """Return the filter bank for a grid and the resolutions that occur."""
    voxel = max(grid.voxel_size_angstrom)
    if parameters.model == "xmipp":
        # The released program counts shells along x.
        return released_bands(
            grid.shape[2], grid.voxel_size_angstrom[2], max(field.coarsest_angstrom, 2 * voxel + 1)
        )
    k = parameters.k(field.median_angstrom)
    beyond = field.coarsest_angstrom + sqrt(BEYOND / k)
    return covering_bands(field.finest_angstrom, beyond, 1 / (NARROWEST_VOX * voxel))


def choose_settings(
    grid: Grid, field: ResolutionField, parameters: DeblurParameters
) -> dict[str, Any]:
    """Return the parameters that all tile functions share, but for the halo."""
    blur = parameters.model == "blur"
    bands = {} if blur else asdict(choose_bands(grid, field, parameters))
    return {
        "bands": {name: list(map(float, values)) for name, values in bands.items()},
        "k_per_square_angstrom": parameters.k(field.median_angstrom),
        "amplitude": parameters.amplitude if blur else None,
        "damping": parameters.damping(field.snr),
        "top_per_angstrom": _top(grid),
        "voxel_size_angstrom": list(grid.voxel_size_angstrom),
        "fallback_angstrom": None if parameters.model == "xmipp" else field.coarsest_angstrom,
        "device": parameters.device,
    }


def choose_halo(grid: Grid, field: ResolutionField, settings: Mapping[str, Any]) -> Shape3:
    """Return the voxels of halo that hold the kernels of H, and of the filter `blur` begins with.

    Parameters
    ----------
    settings
        What `bank_of` needs.
    """
    ends = field.finest_angstrom, field.coarsest_angstrom
    wieners = (False,) if settings["amplitude"] is None else (False, True)
    reach = max(reach_angstrom(bank_of(settings, *ends, wiener=w), tail=HALO_TAIL) for w in wieners)
    z, y, x = (ceil(reach / size) for size in grid.voxel_size_angstrom)
    return z, y, x


def _top(grid: Grid) -> float:
    """Return the highest frequency that the grid holds, in its corners."""
    z, y, x = (0.5 / size for size in grid.voxel_size_angstrom)
    return hypot(z, y, x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The jobs of one map: what they share is said once."""

    observed: Source
    field: ResolutionField
    mask: Source | None
    grid: Grid
    plan: TilePlan
    parameters: DeblurParameters
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        observed: Source,
        field: ResolutionField,
        mask: Source | None,
        grid: Grid,
        run: Run,
        executor: Executor,
        parameters: DeblurParameters,
        *,
        tile: int | None = None,
    ) -> "Passes":
        """Choose bands, halo and tiles."""
        settings = choose_settings(grid, field, parameters)
        xmipp = parameters.model == "xmipp"
        # The narrowest bands of Xmipp's bank reach across any box: one tile, or none.
        halo = (0, 0, 0) if xmipp else choose_halo(grid, field, settings)
        plan = plan_tiles(
            grid.shape,
            halo=halo,
            bytes_per_voxel=BYTES_PER_VOXEL,
            memory_bytes=executor.memory_bytes,
            workers=executor.workers,
            tile=max(grid.shape) if xmipp else tile,
            run=run,
        )
        return cls(
            observed=observed,
            field=field,
            mask=mask,
            grid=grid,
            plan=plan,
            parameters=parameters,
            settings={**settings, "halo_vox": list(halo)},
        )

    @property
    def damping(self) -> float:
        """Return 1 / SNR."""
        return float(self.settings["damping"])

    def start(self) -> TileJob:
        """Return the job that makes the map `blur` begins with."""
        path = map_path(0)
        return TileJob(
            name="deblur start",
            plan=self.plan,
            function=start_tile,
            inputs={"map": self.observed, "resolution": self.field.source},
            outputs={path: OutputSpec()},
            parameters={**self.settings, "output": path},
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def residual(self, number: int, iterate: Source) -> TileJob:
        """Return the first job of an iteration: what H does not explain."""
        path = residual_path(number)
        return TileJob(
            name=f"deblur residual {number}",
            plan=self.plan,
            function=residual_tile,
            inputs={"iterate": iterate, "map": self.observed, "resolution": self.field.source},
            outputs={path: OutputSpec()},
            parameters={**self.settings, "output": path},
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def step(self, number: int, iterate: Source, residual: Source, step: float) -> TileJob:
        """Return the second job of an iteration: the step."""
        path = map_path(number)
        xmipp = self.parameters.model == "xmipp"
        return TileJob(
            name=f"deblur step {number}",
            plan=self.plan,
            function=step_tile,
            inputs={"iterate": iterate, "residual": residual, "resolution": self.field.source},
            outputs={path: OutputSpec()},
            parameters={
                **self.settings,
                "step": step,
                "adjoint": not xmipp,
                "floor": -4 * self.field.empty_deviation if xmipp else None,
                "output": path,
            },
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def gain(self, number: int, iterate: Source) -> TileJob:
        """Return the last job: the gain, and the radial power of input and output."""
        path = gain_path(number)
        inputs = {"iterate": iterate, "map": self.observed, "resolution": self.field.source}
        more = ceil(GAIN_SIGMA_VOX * GAIN_TRUNCATE) if any(self.plan.halo) else 0
        z, y, x = (halo + more for halo in self.plan.halo)
        return TileJob(
            name=f"deblur gain {number}",
            plan=replace(self.plan, halo=(z, y, x)),
            function=gain_tile,
            inputs=inputs if self.mask is None else {**inputs, "mask": self.mask},
            outputs={path: OutputSpec()},
            parameters={
                **self.settings,
                "halo_vox": [z, y, x],
                "nyquist_per_angstrom": 0.5 / max(self.grid.voxel_size_angstrom),
                "output": path,
            },
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def first_step(self, table: Table) -> float:
        """Return lambda from the norms of the first residual job."""
        if self.parameters.model == "blur":
            return 1 / (1 + self.damping)  # the inverse of the largest eigenvalue of H'H + 1 / SNR
        blurred, observed = float(table.sum("blurred")), float(table.sum("observed"))
        if not blurred > 0:
            raise UsageError(
                "nothing of the map lies near its local resolutions; is this the right resolution "
                "map, and are both in angstrom?"
            )
        step = sqrt(observed / blurred) / (12 if self.parameters.model == "xmipp" else 10)
        # Beyond 1 the damping alone would overshoot 0.
        return min(step, 1 / self.damping) if self.damping > 0 else step


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


def radial_amplitude(profiles: Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the root of the mean power in each bin of the ``map`` or of the ``iterate``."""
    counts = profiles.sum(f"coefficients_{name}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(profiles.sum(f"power_{name}") / counts), np.float64)
