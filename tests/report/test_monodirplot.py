"""Pictures of MonoDir: what is drawn where."""

import numpy as np
import pytest

from distres.kernels.directions import half_sphere, tilt_and_rotation
from distres.report.colours import RAMP, hex_to_rgb
from distres.report.monodirplot import draw_directions, draw_profiles, write_pictures

NAMES = ("radial", "tangential", "highest", "lowest", "monores")


@pytest.fixture
def record():
    """46 directions of which those near z are never preferred, and profiles of five shells."""
    angles = tilt_and_rotation(half_sphere(46))
    rows = [
        {
            "tilt_degrees": tilt,
            "rotation_degrees": turn,
            "share": 0.0 if tilt < 25 else 0.1 + tilt / 1000,
            "resolution_angstrom": None if tilt < 25 else 4.0,
        }
        for tilt, turn in angles.tolist()
    ]
    means = {name: [None, 3.0, 3.1, 3.2, None] for name in NAMES}
    line = {"slope": 0.1, "slope_error": 0.01, "intercept_angstrom": 2.85}
    profiles = {
        "radius_angstrom": [0.5, 1.5, 2.5, 3.5, 4.5],
        "means_angstrom": means,
        "lines": dict.fromkeys(NAMES, line),
        "fitted_angstrom": [1.5, 3.5],
    }
    return {"monodir": {"preferred_directions": rows, "profiles": profiles}}


def test_directions_nobody_prefers_are_crosses_in_their_place(record):
    axes = draw_directions(record).axes[0]
    dots, crosses = axes.collections
    empty = [r for r in record["monodir"]["preferred_directions"] if r["share"] == 0]
    assert len(crosses.get_offsets()) == len(empty)
    assert len(dots.get_offsets()) == 46 - len(empty)
    # Equal areas: the radius of 90 degrees from z is 1.
    farthest = max(r["tilt_degrees"] for r in record["monodir"]["preferred_directions"])
    expected = np.sqrt(2) * np.sin(np.radians(farthest) / 2)
    assert np.max(dots.get_offsets()[:, 1]) == pytest.approx(expected)
    assert np.max(crosses.get_offsets()[:, 1]) < np.sqrt(2) * np.sin(np.radians(12.5))


def test_the_area_of_a_dot_is_the_share_of_voxels(record):
    dots = draw_directions(record).axes[0].collections[0]
    shares = [r["share"] for r in record["monodir"]["preferred_directions"] if r["share"] > 0]
    sizes = dots.get_sizes()
    np.testing.assert_allclose(sizes / sizes.max(), np.array(shares) / max(shares))


def test_high_resolution_is_blue_as_in_every_map(record):
    rows = [r for r in record["monodir"]["preferred_directions"] if r["share"] > 0]
    rows[0]["resolution_angstrom"], rows[1]["resolution_angstrom"] = 3.0, 5.0
    dots = draw_directions(record).axes[0].collections[0]
    dots.update_scalarmappable()
    fine, poor = np.rint(255 * dots.get_facecolors()[:2, :3]).astype(int).tolist()
    assert (tuple(fine), tuple(poor)) == (hex_to_rgb(RAMP[0]), hex_to_rgb(RAMP[-1]))


def test_profiles_are_drawn_with_their_lines_and_finer_above(record):
    axes = draw_profiles(record).axes[0]
    assert len(axes.lines) == 2 * len(NAMES)
    bottom, top = axes.get_ylim()
    assert bottom > 3.2 > 3.0 > top
    assert "+0.1000 ± 0.0100" in axes.get_legend().get_texts()[0].get_text()


def test_a_run_without_profiles_says_so(record):
    for name in NAMES:
        record["monodir"]["profiles"]["means_angstrom"][name] = [None] * 5
    axes = draw_profiles(record).axes[0]
    assert "no radius" in axes.texts[0].get_text()


def test_pictures_are_written_as_svg_and_png_and_are_the_same_each_time(record, tmp_path):
    first = write_pictures(tmp_path, "map$_monodir", record)
    kept = {p.name: p.read_bytes() for paths in first.values() for p in paths}
    assert {name.split("_")[-1] for name in kept} == {
        "directions.svg",
        "directions.png",
        "profiles.svg",
        "profiles.png",
    }
    again = write_pictures(tmp_path, "map$_monodir", record)
    for paths in again.values():
        assert paths[0].read_bytes() == kept[paths[0].name]
