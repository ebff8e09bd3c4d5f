"""A finished run gets all of its pictures, scripts and one page that holds them."""

import base64
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import zarr

from distres.errors import InputError
from distres.report.colours import Limits
from distres.report.draw import draw_mask, draw_run
from distres.report.record import RunRecord
from distres.report.summary import summary_text


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.images = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.text.append(data)


def test_everything_is_written_beside_the_run(finished_run):
    directory = finished_run()
    written = draw_run(directory)
    assert sorted(path.name for path in written) == [
        "half1_localfsc.cxc",
        "half1_localfsc_hist.csv",
        "half1_localfsc_hist.svg",
        "half1_localfsc_hist_t0.143.csv",
        "half1_localfsc_hist_t0.143.svg",
        "half1_localfsc_napari.py",
        "half1_localfsc_report.html",
        "half1_localfsc_slices.png",
        "half1_localfsc_slices_t0.143.png",
    ]
    assert all(path.parent == directory and path.stat().st_size > 0 for path in written)
    # The density of the script is half map 1, which lies beside the run directory.
    assert 'open "../half1.mrc"' in (directory / "half1_localfsc.cxc").read_text()


def test_given_limits_hold_for_every_output(finished_run):
    directory = finished_run()
    draw_run(directory, limits=Limits(high_res=1.0, low_res=21.0))
    script = (directory / "half1_localfsc.cxc").read_text()
    assert "palette 1,#" in script
    assert ":21,#" in script
    assert "LIMITS_ANGSTROM = (1.0, 21.0)" in (directory / "half1_localfsc_napari.py").read_text()


def test_the_page_needs_no_other_file(finished_run):
    directory = finished_run()
    draw_run(directory)
    page = (directory / "half1_localfsc_report.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert len(tags.images) == 4
    assert all(source.startswith("data:image/") for source in tags.images)
    assert not re.search(r'(src|href)="(?!data:)', page)
    embedded = base64.b64decode(tags.images[1].split(",", 1)[1])
    assert embedded == (directory / "half1_localfsc_slices.png").read_bytes()
    text = " ".join(tags.text)
    for fact in ("6.00", "window.factor", "step_angstrom", "half1_localfsc_locres.mrc"):
        assert fact in text


def test_nothing_from_a_file_becomes_markup(finished_run):
    evil = '"><script>alert(1)</script>'
    directory = finished_run(
        stem="<b>x", warnings=[evil], citations=[evil], parameters={evil: {evil: evil}}
    )
    draw_run(directory)
    page = next(directory.glob("*_report.html")).read_text()
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.tags
    assert "b" not in tags.tags
    assert page.count("&lt;script&gt;") == 5


def test_a_name_no_script_can_hold_leaves_the_other_pictures(finished_run, caplog):
    directory = finished_run(half1_name='ha"lf.mrc')
    written = [path.suffix for path in draw_run(directory)]
    assert ".cxc" not in written
    assert ".png" in written
    assert "no ChimeraX script" in caplog.text


def test_the_summary_has_one_line_per_threshold_and_all_warnings(finished_run):
    record = RunRecord.load(finished_run(warnings=["the mask touches the box edge"]))
    lines = summary_text(record).splitlines()
    rows = [line.split() for line in lines if line.strip().startswith("0.")]
    assert [row[:2] for row in rows] == [["0.5", "6.00"], ["0.143", "4.80"]]
    assert rows[0][-2:] == ["100.0", "%"]
    assert "warning: the mask touches the box edge" in lines
    assert "  locres: half1_localfsc_locres.mrc" in lines


def test_a_run_without_any_resolution_is_drawn_too(finished_run):
    edges = np.linspace(2, 12, 11).tolist()
    none = {"edges_angstrom": edges, "counts": [0] * 10}
    directory = finished_run(
        histograms={"0.5": none}, statistics={"0.5": {"median": None, "fraction_resolved": 0.0}}
    )
    assert len(draw_run(directory)) == 6
    assert re.search(r"0\.5\s+-", summary_text(RunRecord.load(directory)))


def test_a_record_without_a_mask_is_refused(finished_run):
    directory = finished_run(arrays={"locres": {"0.5": "locres/0.5"}, "half1": "half1/0"})
    shutil.rmtree(directory / "run.zarr" / "mask")
    with pytest.raises(InputError, match="'mask'"):
        draw_run(directory)


def test_halves_are_found_where_runs_put_them(finished_run, caplog):
    arrays = {"locres": {t: f"locres/{t}" for t in ("0.5", "0.143")}, "mask": "mask"}
    directory = finished_run(arrays=arrays)
    draw_run(directory)
    assert "no density" in caplog.text
    shown = (directory / "half1_localfsc_slices.png").read_bytes()
    store = str(directory / "run.zarr")
    data = zarr.open_array(store, path="half1/0")[:]
    zarr.create_array(store, name="inputs/half1/0", data=data)
    caplog.clear()
    draw_run(directory)
    assert "no density" not in caplog.text
    assert (directory / "half1_localfsc_slices.png").read_bytes() != shown


def test_a_mask_run_is_drawn_without_resolution(finished_run):
    arrays = {"mask": "mask", "map": "half1/0"}
    directory = finished_run(
        method="mask", arrays=arrays, histograms={}, outputs={"mask": "emd_mask.mrc"}
    )
    path = draw_mask(directory)
    assert path == directory / "emd_mask_slices.png"
    assert path.stat().st_size > 1000


def test_thresholds_may_share_one_array(finished_run):
    directory = finished_run(arrays={"locres": "stacked", "mask": "mask", "half1": "half1/0"})
    store = str(directory / "run.zarr")
    record = RunRecord.load(directory)
    apart = [zarr.open_array(store, path=f"locres/{t}")[:] for t in record.thresholds]
    zarr.create_array(store, name="stacked", data=np.stack(apart))
    for threshold, expected in zip(record.thresholds, apart, strict=True):
        region = (slice(3, 9), slice(0, 20), slice(7, 30))
        source = record.locres(threshold)
        assert source.shape == expected.shape
        np.testing.assert_array_equal(source.read(region), expected[region])
    assert len(draw_run(directory)) == 9
