"""Halves that cannot be trusted are told so, by every method of half maps."""

import json

import mrcfile
import numpy as np
import pytest

from distres.errors import InputError
from distres.methods.blocres import BlocresParameters
from distres.methods.blocres_run import compute_blocres
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_run import compute_monodir
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions
from distres.methods.radial import RadialParameters
from distres.methods.radial_run import compute_radial
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.resmap_run import compute_resmap
from distres.methods.spheres import SphereParameters
from distres.methods.spheres_run import compute_spheres

EDGE = 48
METHODS = {
    "blocres": lambda pair, options: compute_blocres(
        *pair, BlocresParameters(box_vox=11, step_vox=6, device="cpu"), options
    ),
    "spheres": lambda pair, options: compute_spheres(
        *pair,
        SphereParameters(
            sampling_angstrom=12.0, radius_angstrom=5.0, edge_angstrom=3.0, device="cpu"
        ),
        options,
    ),
    "localfsc": lambda pair, options: compute_localfsc(
        *pair, LocalFscParameters(device="cpu"), options
    ),
    "monores": lambda pair, options: compute_monores(
        *pair, MonoResParameters(step_angstrom=3.0, device="cpu"), options
    ),
    "resmap": lambda pair, options: compute_resmap(
        *pair,
        ResmapParameters(
            finest_angstrom=5.0, coarsest_angstrom=8.0, step_angstrom=3.0, whiten=0.0, device="cpu"
        ),
        options,
    ),
    "monodir": lambda pair, options: compute_monodir(
        *pair,
        MonoDirParameters(
            directions=46,
            finest_angstrom=6.0,
            coarsest_angstrom=12.0,
            step_angstrom=3.0,
            device="cpu",
        ),
        options,
    ),
    "shells": lambda pair, options: compute_radial(
        *pair, RadialParameters(thickness_angstrom=9.0, device="cpu"), options
    ),
}


def write(path, values):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = 1.5
    return str(path)


@pytest.fixture
def masked(tmp_path):
    """Halves that somebody multiplied by a hard mask, and that mask."""
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(EDGE) for _ in range(3))]
    ball = sum((a - EDGE // 2) ** 2 for a in axes) < 16**2
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    fall = np.exp(-25 * sum(a**2 for a in k))
    signal = np.fft.ifftn(np.fft.fftn(rng.standard_normal(ball.shape)) * fall).real * 20
    halves = [(signal + rng.standard_normal(ball.shape)) * ball for _ in "12"]
    return {
        "pair": [write(tmp_path / f"m_half{i}.mrc", h) for i, h in enumerate(halves, 1)],
        "mask": write(tmp_path / "mask.mrc", ball),
    }


@pytest.mark.parametrize("method", METHODS)
def test_halves_that_were_masked_are_told_so(tmp_path, masked, method):
    options = RunOptions(output=tmp_path / "run", mask=masked["mask"])
    METHODS[method](masked["pair"], options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("mask" in warning for warning in record["warnings"])


@pytest.mark.parametrize("method", METHODS)
def test_halves_that_were_filtered_are_told_so(tmp_path, method):
    """White halves cut off at 5 A hold nothing in the last tenth of their shells, beyond 3.3 A."""
    rng = np.random.default_rng(1)
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    passed = sum(a**2 for a in k) < (1.5 / 5) ** 2
    signal = 2 * rng.standard_normal((EDGE,) * 3)
    pair = [
        write(
            tmp_path / f"f_half{i}.mrc",
            np.fft.ifftn(np.fft.fftn(signal + rng.standard_normal(signal.shape)) * passed).real,
        )
        for i in (1, 2)
    ]
    axes = np.ogrid[tuple(slice(EDGE) for _ in range(3))]
    ball = sum((a - EDGE // 2) ** 2 for a in axes) < 16**2
    options = RunOptions(output=tmp_path / "run", mask=write(tmp_path / "mask.mrc", ball))
    METHODS[method](pair, options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("low-pass filtered" in warning for warning in record["warnings"])


@pytest.mark.parametrize("method", METHODS)
def test_identical_halves_are_refused(tmp_path, masked, method):
    copy = write(tmp_path / "copy.mrc", mrcfile.read(masked["pair"][0]))
    options = RunOptions(output=tmp_path / "run", mask=masked["mask"])
    with pytest.raises(InputError):
        METHODS[method]([masked["pair"][0], copy], options)
