"""Records are read or refused; histograms answer for the voxels they count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.errors import InputError
from distres.report.record import Histogram, RunRecord


def counted(values, edges):
    counts, _ = np.histogram(values, edges)
    return Histogram(edges_angstrom=np.asarray(edges, dtype=float), counts=counts)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), percent=st.sampled_from([2, 5, 25, 50, 75, 95, 98]))
def test_percentiles_are_right_to_a_bin(seed, percent):
    values = np.random.default_rng(seed).uniform(3, 9, 500)
    found = counted(values, np.arange(2, 12.01, 0.1)).percentile(percent)
    # The voxel lies in the right bin, whose width is 0.1; "linear" mixes two of the 500 voxels,
    # which may lie a gap (ln 500 * 6 / 500 = 0.07 at the most, typically 0.01) apart.
    assert found == pytest.approx(np.percentile(values, percent), abs=0.2)


def test_percentiles_skip_empty_bins():
    histogram = Histogram(
        edges_angstrom=np.arange(6.0), counts=np.array([0, 10, 0, 0, 10], dtype=np.int64)
    )
    assert histogram.percentile(0) == 1
    assert histogram.percentile(25) == 1.5
    assert histogram.percentile(75) == 4.5
    assert histogram.percentile(100) == 5


def test_an_empty_histogram_has_limits_but_no_median():
    empty = Histogram(edges_angstrom=np.array([2.0, 3.0, 9.0]), counts=np.zeros(2, dtype=np.int64))
    assert np.isnan(empty.percentile(50))
    assert (empty.limits().high_res, empty.limits().low_res) == (2, 9)


def test_merging_bins_keeps_every_voxel():
    histogram = counted(np.random.default_rng(0).uniform(2, 12, 1000), np.linspace(2, 12, 1001))
    merged = histogram.merged(2, 12, most=80)
    assert merged.total == histogram.total == 1000
    assert len(merged.counts) <= 80
    assert (merged.edges_angstrom[0], merged.edges_angstrom[-1]) == (2, 12)


def test_histograms_that_are_none_are_refused():
    with pytest.raises(InputError, match="one edge more"):
        Histogram(edges_angstrom=np.arange(3.0), counts=np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match="ascend"):
        Histogram(edges_angstrom=np.array([1.0, 1.0]), counts=np.zeros(1, dtype=np.int64))


def test_a_record_gives_places_and_names(finished_run):
    record = RunRecord.load(finished_run())
    assert record.thresholds == ("0.5", "0.143")
    assert record.stem == "half1_localfsc"
    assert record.voxel_size_angstrom == (2.0, 1.0, 1.5)
    assert record.locres("0.143").shape == record.shape == (24, 32, 40)
    assert record.array("density", "half1").path == "half1/0"
    assert record.array("nothing") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "not finished"), ("{", "cannot be read"), ("[]", "no record"), ("{}", "method, grid")],
)
def test_what_is_no_run_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=said):
        RunRecord.load(tmp_path)
