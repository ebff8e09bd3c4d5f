"""A dry run of LocalDeblur: its halo follows from the resolution map, so that is looked at."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from distres.engine.jobs import Array, Json, Source, TileJob
from distres.engine.progress import format_seconds
from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.volume import VolumeLike
from distres.methods.deblur_inputs import MapInputs, RunResolution, open_map
from distres.methods.deblur_passes import Passes
from distres.methods.deblur_plan import DeblurParameters, ResolutionField, coarsest_angstrom_of
from distres.methods.deblur_resolution import (
    Reading,
    resolution_job,
    sample_sections,
    understand,
)
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.session import Session, open_session
from distres.methods.trial import ChainEstimate, StandIn, estimate_chain, ingest_jobs

# The step's length changes no cost.
_ANY_STEP = 0.1
_ITERATION = ("deblur residual 1", "deblur step 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeblurEstimate:
    """What a run would take: everything with one iteration, and how many there may be.

    Attributes
    ----------
    chain
        All jobs, those of an iteration once.
    iterations
        Most iterations.
    change
        Change of an iteration that ends them.
    """

    chain: ChainEstimate
    iterations: int
    change: float

    @property
    def iteration_seconds(self) -> float:
        """Wall time of one iteration."""
        return sum(job.seconds for job in self.chain.jobs if job.job in _ITERATION)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            **self.chain.as_json(),
            "seconds_per_iteration": self.iteration_seconds,
            "iterations_at_most": self.iterations,
        }

    def __str__(self) -> str:
        return (
            f"{self.chain}\nthat is with one iteration, which takes "
            f"{format_seconds(self.iteration_seconds)}; there are {self.iterations} at most, and "
            f"the first that changes the map by less than {100 * self.change:g} % is the last"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InAngstrom:
    """A resolution map as the first job will store it, read where it lies."""

    source: Source
    reading: Reading

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels (z, y, x)."""
        return self.source.shape[-3:]

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read a region in angstrom, NaN where there is no resolution."""
        return self.reading.in_angstrom(np.asarray(self.source.read(region), np.float32))

    def identity(self) -> dict[str, Json]:
        """Say what it is read from."""
        return self.source.identity()


def dry_run(
    density: VolumeLike, locres: VolumeLike, parameters: DeblurParameters, options: RunOptions
) -> DeblurEstimate:
    """Say what a run would take: tiles, halo, memory, disk, and time from three tiles a job.

    Parameters
    ----------
    density, locres, parameters, options
        As in `distres.methods.deblur_run.deblur_map`. Noise stands in for the map; the resolution
        map is read.

    Raises
    ------
    InputError
        The inputs cannot be used.
    """
    inputs = open_map(density, locres, options)
    with open_session(options, default_output="deblur") as session:
        return DeblurEstimate(
            chain=estimate_chain(_jobs(session, inputs, parameters), session.executor),
            iterations=parameters.iterations,
            change=parameters.change,
        )


def _jobs(session: Session, inputs: MapInputs, parameters: DeblurParameters) -> list[TileJob]:
    """Return all jobs in order, with one iteration."""
    executor, grid = session.executor, inputs.density.grid
    noise = StandIn(shape=grid.shape)
    mask = None if inputs.mask is None else noise
    jobs = ingest_jobs(inputs.density, "map", executor, 1)
    if isinstance(inputs.locres, RunResolution):
        source: Source = inputs.locres.source
    else:
        jobs += ingest_jobs(inputs.locres, "locres", executor, 1)
        # What can only be read from its beginning is unpacked, into a folder that vanishes.
        source = (
            inputs.locres
            if inputs.locres.random_access
            else ingest(inputs.locres, session.run, "locres", executor, replace_nonfinite=0.0)[0]
        )
    reading = understand(inputs.locres, source, grid, coarsest_angstrom_of(parameters, grid))
    extend = parameters.model != "xmipp"
    jobs.append(resolution_job(session, source, reading, noise, mask, grid, extend=extend))
    passes = Passes.of(
        noise,
        _field(source, reading, grid),
        mask,
        grid,
        session.run,
        executor,
        parameters,
        tile=session.options.tile_vox,
    )
    if parameters.model == "blur":
        jobs.append(passes.start())
    jobs += [passes.residual(1, noise), passes.step(1, noise, noise, _ANY_STEP)]
    return [*jobs, passes.gain(1, noise)]


def _field(source: Source, reading: Reading, grid: Grid) -> ResolutionField:
    """Return what some sections of a resolution map tell; the variances are not known."""
    sampled = reading.in_angstrom(sample_sections(source))
    known = sampled[np.isfinite(sampled)]
    if known.size == 0:
        raise InputError(
            "the resolution map holds no resolution in the sections looked at; are both on the "
            "same grid and is it in angstrom?"
        )
    finest, sharp, median, coarsest = np.quantile(known, (0.0, 0.05, 0.5, 1.0))
    return ResolutionField(
        source=InAngstrom(source=source, reading=reading),
        finest_angstrom=float(finest),
        coarsest_angstrom=float(coarsest),
        median_angstrom=float(median),
        sharp_angstrom=float(sharp),
        # They set the length of a step, not its cost.
        signal_variance=1.0,
        noise_variance=1.0,
        empty_deviation=0.0,
    )
