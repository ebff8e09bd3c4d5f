import numpy as np

from distres.report.noiseplot import draw, write_picture

RECORD = {
    "resmap": {
        "noise_spectrum": [1.0, 0.9, 0.8, 0.0, 0.5, 0.4],
        "whitening": {
            "coefficients": [0.0, -0.5, 0.0],
            "elbow": 0.2,
            "limit": 1.0,
            "nyquist_per_angstrom": 0.4,
        },
    }
}


def test_empty_bins_are_not_drawn_and_the_fit_is_flat_below_the_elbow():
    measured, fit = draw(RECORD).axes[0].get_lines()
    assert len(measured.get_xdata()) == 5
    values = np.asarray(fit.get_ydata())
    assert values[0] == np.exp(-0.5 * 0.2)
    assert (np.diff(values[1:]) < 0).all()


def test_a_run_without_whitening_has_no_picture(tmp_path):
    assert write_picture(tmp_path, "map", {"resmap": {"whitening": None}}) is None
    path = write_picture(tmp_path, "map", RECORD)
    assert path is not None
    assert path.stat().st_size > 1000
