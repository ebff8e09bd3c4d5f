"""The histogram's numbers and picture say the same as the counts."""

import csv
from xml.etree import ElementTree

import numpy as np
import pytest

from distres.report import histogram as module
from distres.report.colours import Limits, colour
from distres.report.record import Histogram

LIMITS = Limits(high_res=3.0, low_res=9.0)


@pytest.fixture
def histogram():
    values = np.random.default_rng(1).uniform(3, 9, 5000)
    counts, edges = np.histogram(values, np.linspace(2, 12, 51))
    return Histogram(edges_angstrom=edges, counts=counts)


def test_csv_holds_every_voxel_and_ends_at_one(tmp_path, histogram):
    path = module.write_csv(tmp_path / "h.csv", histogram)
    rows = list(csv.DictReader(path.open()))
    assert sum(int(row["voxels"]) for row in rows) == 5000
    # Values from 3 to 9 in bins of 0.2: the empty bins from 2 to 3 and 9 to 12 are left out.
    assert [float(row["from_angstrom"]) for row in rows] == pytest.approx(
        histogram.edges_angstrom[5:35].tolist()
    )
    assert rows[-1]["cumulative_fraction"] == "1.000000"
    # Half of the voxels lie below the median's bin end.
    at_median = next(r for r in rows if float(r["to_angstrom"]) >= histogram.percentile(50))
    assert float(at_median["cumulative_fraction"]) >= 0.5


def test_svg_is_well_formed_whatever_the_title(tmp_path, histogram):
    path = module.write_svg(
        tmp_path / "h.svg", histogram, LIMITS, title="<script>\"$x_{$&'", unresolved_fraction=0.1
    )
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.endswith("script")]


def test_the_same_histogram_gives_the_same_bytes(tmp_path, histogram):
    first, second = (
        module.write_svg(tmp_path / name, histogram, LIMITS).read_bytes() for name in ("a", "b")
    )
    assert first == second


def test_bars_have_the_slices_colours_and_lines_the_percentiles(histogram):
    axes = module.draw(histogram, LIMITS).axes[0]
    for bar in axes.patches[5:30:7]:
        middle = bar.get_x() + bar.get_width() / 2
        painted = np.rint(255 * np.array(bar.get_facecolor()[:3]))
        assert painted.tolist() == colour(np.array(middle), LIMITS).tolist()
    marked = [float(line.get_xdata()[0]) for line in axes.lines]
    assert marked == pytest.approx([histogram.percentile(p) for p in (5, 25, 50, 75, 95)])
    area = sum(bar.get_height() * bar.get_width() for bar in axes.patches)
    assert area == pytest.approx(100)  # percent


def test_an_empty_histogram_says_so():
    empty = Histogram(edges_angstrom=np.array([2.0, 3.0, 9.0]), counts=np.zeros(2, dtype=np.int64))
    axes = module.draw(empty, empty.limits()).axes[0]
    assert "no voxel" in axes.get_title(loc="left")
