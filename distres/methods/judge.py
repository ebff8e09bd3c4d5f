"""What the global FSC says of two halves before anything local is computed from them."""

from distres.methods.fsc import FscParameters, compute_fsc
from distres.methods.session import HalfMaps, Session


def judge_halves(session: Session, maps: HalfMaps) -> float | None:
    """Measure the global FSC; what it finds wrong with the halves becomes the run's warnings.

    Pre-masked, pre-filtered or nearly equal halves, and halves that never fall apart, are told so.

    Returns
    -------
    Global resolution in angstrom at 0.143 (with a mask corrected for it); Nyquist when the curve
    never falls; None when it is never above.
    """
    result = compute_fsc(
        maps.half1,
        maps.half2,
        maps.mask,
        FscParameters(),
        session.run,
        session.executor,
        tile_vox=session.options.tile_vox,
    )
    for finding in result.findings:
        session.warn(finding.message)
    headline = result.headline
    if headline.resolution_angstrom is None and headline.state != "never above":
        return float(1 / result.shells.nyquist_per_angstrom)
    return headline.resolution_angstrom
