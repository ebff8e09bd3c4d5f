"""What an oversharpening scan finds: resolution of the halves, curve, B-factor, verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distres.engine.jobs import Source, TileJob
from distres.engine.runner import output, run_job
from distres.engine.sources import Layer
from distres.engine.tables import Table
from distres.errors import InputError
from distres.methods.deepres_plan import DeepResParameters
from distres.methods.localfsc import run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.mask import MaskResult
from distres.methods.monores import run_monores
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.oversharp import (
    OversharpParameters,
    as_table,
    choose_b,
    guinier_b,
    is_finer,
    percentiles,
    verdict,
)
from distres.methods.oversharp_passes import Passes
from distres.methods.session import HalfMaps, Session


def halves_parameters(
    parameters: OversharpParameters, network: DeepResParameters
) -> LocalFscParameters:
    """Return how the local FSC of the halves is computed."""
    return LocalFscParameters(thresholds=(parameters.threshold,), device=network.device)


def measure_halves(
    session: Session,
    maps: HalfMaps,
    mask: MaskResult,
    first: Sequence[Source],
    second: Sequence[Source],
    parameters: OversharpParameters,
    network: DeepResParameters,
) -> str:
    """Compute the local resolution of the halves, unsharpened; return where it lies."""
    grid, tile = maps.half1.grid, session.options.tile_vox
    if parameters.snr == "monores":
        given = MonoResInputs(
            half1=first, half2=second, grid=grid, mask=mask.source, occupancy=mask.occupancy
        )
        noise = MonoResParameters(device=network.device)
        return run_monores(given, session.run, session.executor, noise, tile=tile).locres
    return run_localfsc(
        first,
        second,
        grid,
        session.run,
        session.executor,
        halves_parameters(parameters, network),
        mask=mask.source,
        occupancy=mask.occupancy,
        tile=tile,
    ).locres


def run_scan(
    session: Session, passes: Passes, first: Source, second: Source, locres: str
) -> dict[str, Any]:
    """Scan, choose, look again under the B-factor chosen, and store the map under it.

    Parameters
    ----------
    passes
        What is scanned.
    first, second
        The half maps.
    locres
        Where their local resolution lies in the run's store.

    Returns
    -------
    The entry ``oversharp`` of ``run.json``.

    Raises
    ------
    InputError
        The halves have no resolution in the mask.
    UsageError
        DeepRes says nothing in the mask.
    """
    percent, scan = passes.parameters.percent, passes.parameters.scan
    halves_at = Layer(source=output(session.run, locres), index=0)
    table = _go(session, passes.scan("oversharp scan", halves_at, scan))
    counts, halves = table.sum("counts"), table.sum("halves")
    if not halves.sum():
        raise InputError("the halves have no resolution anywhere in the mask; check the mask")
    curve = as_table(scan, counts, percent)
    wanted = percentiles(halves[None], percent)[0]
    choice = choose_b(np.array(scan), np.array(curve["deepres_angstrom"]), wanted)
    b = choice.b_square_angstrom
    chosen = _go(session, passes.scan("oversharp check", halves_at, (b,))).sum("counts")
    guinier = _guinier(_go(session, passes.spectra(first, second)), passes, wanted)
    _go(session, passes.sharpen(b))
    as_is = curve["deepres_angstrom"][scan.index(0.0)]
    return {
        "verdict": verdict(
            deepres_angstrom=as_is, halves_angstrom=wanted, choice=choice, guinier=guinier
        ),
        "over_sharpened": is_finer(as_is, wanted),
        "b_square_angstrom": b,
        "reached": choice.reached,
        "b_guinier_square_angstrom": guinier,
        "percent": percent,
        "halves_angstrom": wanted,
        "deepres_angstrom": as_is,
        "deepres_at_chosen_b_angstrom": percentiles(chosen, percent)[0],
        "places": int(halves.sum()),
        "nodes_every_model_voxels": passes.every,
        "spectrum_ends_at_angstrom": 1 / passes.edge.stop_per_angstrom,
        "model": passes.model.as_json(),
        "curve": curve,
    }


def _go(session: Session, job: TileJob) -> Table:
    return run_job(job, run=session.run, executor=session.executor)


def _guinier(table: Table, passes: Passes, high_angstrom: float) -> float | None:
    with np.errstate(divide="ignore", invalid="ignore"):
        power = [
            table.sum(f"power_{name}") / table.sum("coefficients")
            for name in ("map", "mean", "difference")
        ]
    return guinier_b(power[0], power[1], power[2], passes.nyquist_per_angstrom, high_angstrom)
