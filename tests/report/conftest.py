"""A finished run, small enough to make for every test."""

import json

import numpy as np
import pytest
import zarr

SHAPE = (24, 32, 40)
VOXEL = (2.0, 1.0, 1.5)  # z, y, x
THRESHOLDS = ("0.5", "0.143")


@pytest.fixture
def finished_run(tmp_path):
    """Return a function that writes a run directory as a method leaves it."""

    def make(name="run", *, stem="half1_localfsc", half1_name="half1.mrc", **changes):
        directory = tmp_path / name
        directory.mkdir()
        half1 = tmp_path / half1_name
        half1.write_bytes(b"only the name matters")
        rng = np.random.default_rng(0)
        mask = np.zeros(SHAPE, dtype=np.float32)
        mask[4:20, 6:26, 8:32] = 1
        locres = np.full(SHAPE, np.nan, dtype=np.float32)
        locres[mask > 0] = np.broadcast_to(np.linspace(3, 9, 24), (16, 20, 24)).reshape(-1)
        store = str(directory / "run.zarr")
        density = rng.standard_normal(SHAPE).astype(np.float32) + 3 * mask
        for path, data in (
            ("half1/0", density),
            ("mask", mask),
            ("locres/0.5", locres),
            ("locres/0.143", locres * np.float32(0.8)),
        ):
            zarr.create_array(store, name=path, data=data, overwrite=True)
        histograms, statistics = {}, {}
        for threshold, factor in zip(THRESHOLDS, (1, 0.8), strict=True):
            values = locres[np.isfinite(locres)] * factor
            edges = np.linspace(2, 12, 101)
            counts, _ = np.histogram(values, edges)
            histograms[threshold] = {"edges_angstrom": edges.tolist(), "counts": counts.tolist()}
            p5, p25, p50, p75, p95 = (float(p) for p in np.percentile(values, [5, 25, 50, 75, 95]))
            statistics[threshold] = {
                "median": p50, "p5": p5, "p25": p25, "p75": p75, "p95": p95,
                "fraction_resolved": 1.0,
            }  # fmt: skip
        record = {
            "method": "localfsc",
            "version": "0.1.0",
            "argv": ["distres", "localfsc", str(half1)],
            "inputs": {"half1": {"path": str(half1)}},
            "grid": {
                "shape": list(SHAPE),
                "voxel_size_angstrom": list(VOXEL),
                "origin_angstrom": [10.0, 20.0, 30.0],
            },
            "parameters": {"window": {"factor": 0.5}, "step_angstrom": 0.25},
            "outputs": {
                "locres": f"{stem}_locres.mrc",
                "locres_fill": f"{stem}_locres_fill.mrc",
                "mask": f"{stem}_mask.mrc",
            },
            "arrays": {
                "locres": {t: f"locres/{t}" for t in THRESHOLDS},
                "mask": "mask",
                "half1": "half1/0",
            },
            "histograms": histograms,
            "statistics": statistics,
            "warnings": [],
            **changes,
        }
        (directory / "run.json").write_text(json.dumps(record))
        return directory

    return make
