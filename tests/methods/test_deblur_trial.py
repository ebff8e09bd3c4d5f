"""A dry run of LocalDeblur says what the run then does, and leaves nothing."""

import numpy as np
import pytest

from distres.errors import InputError
from distres.methods.deblur_plan import DeblurParameters
from distres.methods.deblur_run import deblur_map
from distres.methods.deblur_trial import dry_run
from distres.methods.options import RunOptions

EDGE = 48


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    locres = np.full((EDGE,) * 3, 4.0, np.float32)
    locres[:, : EDGE // 2] = 6.0
    locres[:, :6] = 0.0
    return rng.standard_normal((EDGE,) * 3).astype(np.float32), locres


@pytest.mark.parametrize("model", ["paper", "blur", "xmipp"])
def test_the_tiles_are_those_of_the_run(tmp_path, monkeypatch, maps, model):
    monkeypatch.chdir(tmp_path)
    parameters = DeblurParameters(model=model, iterations=2, device="cpu")
    shared = {"pixel_size_angstrom": 1.5, "tile_vox": 32}
    estimate = dry_run(*maps, parameters, RunOptions(dry_run=True, **shared))
    assert not list(tmp_path.iterdir())
    run = deblur_map(*maps, parameters, RunOptions(output=tmp_path / "run", **shared))
    step = next(job for job in estimate.chain.jobs if job.job == "deblur step 1")
    assert list(step.core_vox) == run.record["parameters"]["tile_core_vox"]
    assert list(step.halo_vox) == run.record["parameters"]["tile_halo_vox"]
    done = {folder.name.replace("_", " ") for folder in (tmp_path / "run" / "ledger").iterdir()}
    # Two iterations are done; arrays are copied by the driver, in no job.
    counted = {job.job.replace("gain 1", "gain 2") for job in estimate.chain.jobs}
    later = {name for name in done if "2" in name and "gain" not in name}
    assert counted == {name for name in done - later if not name.startswith(("copy", "ingest"))}


def test_an_iteration_is_told_apart_from_the_rest(maps):
    parameters = DeblurParameters(iterations=7, device="cpu")
    options = RunOptions(dry_run=True, pixel_size_angstrom=1.5)
    estimate = dry_run(*maps, parameters, options)
    told = estimate.as_json()
    assert told["iterations_at_most"] == 7
    assert 0 < told["seconds_per_iteration"] < told["seconds"]
    assert "there are 7 at most" in str(estimate)


def test_a_resolution_map_without_resolutions_is_refused_before_anything_is_tried(maps):
    nothing = np.zeros((EDGE,) * 3, np.float32)
    options = RunOptions(dry_run=True, pixel_size_angstrom=1.5)
    with pytest.raises(InputError, match="holds no resolution"):
        dry_run(maps[0], nothing, DeblurParameters(), options)
