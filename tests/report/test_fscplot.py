from xml.etree import ElementTree as Tree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distres.kernels.shells import Shells
from distres.methods.fsc_result import FscParameters, result_of
from distres.methods.fsc_survey import Survey
from distres.report.fscplot import angstrom_ticks, draw, write_pictures

SHELLS = Shells(shape=(40, 40, 40), voxel_size_angstrom=(1.5, 1.5, 1.5))


def sums_of(curve):
    """Shell sums that have this FSC."""
    powers = np.ones((2, SHELLS.count + 1))
    return np.stack([np.append(curve, 0.0), *powers])


def made(masked=True, curve=None):
    shell = np.arange(SHELLS.count)
    fall = 1 / (1 + np.exp(shell - 12.0)) if curve is None else curve
    leak = np.where(shell < 9, 1.0, 0.3 * np.exp(9.0 - shell))
    passes = [fall, np.sqrt(fall), leak, leak] if masked else [fall]
    survey = Survey(
        mean=(0.0, 0.0),
        deviation=(1.0, 1.0),
        constant_fraction=(0.0, 0.0),
        equal_fraction=0.0,
        mask_soft=5,
        mask_power=np.ones((40, 40, 40), np.float32) if masked else None,
    )
    sums = np.stack([sums_of(values) for values in passes]) * 1e6
    return result_of(SHELLS, sums, 9, survey, FscParameters())


@given(st.floats(0.001, 2.0))
def test_ticks_are_round_within_the_axis_and_apart(highest):
    ticks = angstrom_ticks(highest)
    places = 1 / (np.array(ticks) * highest)
    assert len(ticks) >= 4
    assert (places <= 1).all()
    assert (places > 0).all()
    assert (-np.diff(places) >= 0.075 - 1e-9).all()
    assert all(float(f"{tick:.2g}") == tick for tick in ticks)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_picture_names_curves_axes_thresholds_and_crossings():
    result = made()
    figure = draw(result, title="half1")
    axes, top = figure.axes
    assert axes.get_xlabel() == "spatial frequency (1/Å)"
    assert top.get_xlabel() == "resolution (Å)"
    assert axes.get_xlim() == top.get_xlim()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "corrected",
        "masked",
        "unmasked",
        "phases randomised, masked",
        "half-bit",
        "3 sigma",
    ]
    shown = texts(figure)
    assert "0.143" in shown
    assert f"{result.headline.resolution_angstrom:.2f} Å" in shown
    for tick, label in zip(top.get_xticks(), top.get_xticklabels(), strict=True):
        assert 1 / tick == pytest.approx(float(label.get_text()), rel=1e-5)


def test_the_lines_are_the_curves():
    result = made()
    axes = draw(result).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(drawn["corrected"], result.curves["corrected"])
    np.testing.assert_array_equal(drawn["half-bit"], result.criteria["half-bit"][1:])


def test_a_curve_that_never_falls_says_so_instead_of_a_number():
    figure = draw(made(masked=False, curve=np.full(SHELLS.count, 0.9)))
    assert "never falls" in figure.axes[0].get_title(loc="left")
    assert not [text for text in texts(figure) if text.endswith("Å")]


def test_svg_is_well_formed_and_repeats_to_the_byte(tmp_path):
    result = made()
    svg, png = write_pictures(tmp_path, "a", result, title="costs $5 & <more>")
    first = svg.read_bytes()
    Tree.fromstring(first)
    assert png.read_bytes()[:4] == b"\x89PNG"
    write_pictures(tmp_path, "a", result, title="costs $5 & <more>")
    assert svg.read_bytes() == first
