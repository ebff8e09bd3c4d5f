"""What the global FSC says of two halves before anything local is computed from them."""

from distres.engine.jobs import Source
from distres.methods.fsc import FscParameters, FscResult, fsc_of_sources
from distres.methods.fsc_memory import fits
from distres.methods.fsc_windows import fsc_in_windows
from distres.methods.pyramid import readable
from distres.methods.session import HalfMaps, Session

# What is wrong with the halves. The mask only says where local answers are wanted.
ABOUT_HALVES = (
    "identical-halves",
    "pre-masked",
    "pre-filtered",
    "never-falls",
    "never-above",
    "below-noise",
)


def judge_halves(
    session: Session, maps: HalfMaps, mask: Source | None = None, *, masked: bool = True
) -> float | None:
    """Measure the global FSC; what it finds wrong with the halves becomes the run's warnings.

    Pre-masked, pre-filtered or nearly equal halves, and halves that never fall apart, are told so.
    A volume that fits into a worker is measured whole, a larger one in windows
    (`distres.methods.fsc_windows`), without its mask.

    Parameters
    ----------
    mask
        The run's mask, when it is known already; None takes the user's, if there is one.
    masked
        False uses no mask: the judgement of the halves is the same at a quarter of the cost, but
        the resolution is that of the whole box.

    Returns
    -------
    Global resolution in angstrom at 0.143 (with a mask corrected for it); Nyquist when the curve
    never falls; None when it is never above.
    """
    result = _measure(session, maps, mask, masked=masked)
    for finding in result.findings:
        if finding.code in ABOUT_HALVES:
            session.warn(finding.message)
    headline = result.headline
    if headline.resolution_angstrom is None and headline.state != "never above":
        return float(1 / result.shells.nyquist_per_angstrom)
    return headline.resolution_angstrom


def _measure(session: Session, maps: HalfMaps, mask: Source | None, *, masked: bool) -> FscResult:
    run, executor, grid = session.run, session.executor, maps.half1.grid
    sources = readable(maps.volumes, run, executor)
    if mask is not None:
        sources["mask"] = mask
    if not masked:
        sources.pop("mask", None)
    # One randomisation judges well enough.
    parameters = FscParameters(repeats=1)
    if not fits(grid.shape, executor):
        return fsc_in_windows(sources, grid.voxel_size_angstrom, parameters, run, executor)
    return fsc_of_sources(
        sources,
        grid,
        parameters,
        run,
        executor,
        at_once=True,
        tile_vox=session.options.tile_vox,
    )
