"""A model phantom's chains have the resolution that its truth says."""

import json
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import typer
from scipy import ndimage
from typer.testing import CliRunner

from distres.cli.phantom import register
from distres.errors import InputError, UsageError
from distres.methods.phantom_chains import ModelParameters
from distres.methods.phantom_model import make_model, write_model

ATOM = (
    "ATOM  {0:5d}  {1:<3s} ALA {2}{3:4d}    {4:8.3f}{5:8.3f}{6:8.3f}  1.00 30.00          {1:>2s}"
)


@pytest.fixture(scope="module")
def two_balls(tmp_path_factory):
    """Chains A and B: atoms packed like a protein's in two balls beside each other along x."""
    rng = np.random.default_rng(0)
    axis = np.arange(-16, 17, 2.67)  # 19 cubic angstrom an atom
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    lines = []
    for chain, centre in (("A", -18.0), ("B", 18.0)):
        points = lattice + rng.uniform(-1.3, 1.3, lattice.shape)
        points = points[np.linalg.norm(points, axis=1) < 16] + (centre + 50, 70, 20)
        for i, (x, y, z) in enumerate(points):
            lines.append(ATOM.format(i + 1, "CNO"[i % 3], chain, i // 5 + 1, x, y, z))
    path = tmp_path_factory.mktemp("model") / "two_balls.pdb"
    path.write_text("\n".join([*lines, "END"]) + "\n")
    return path


def fsc_inside(mask, half1, half2, width):
    """FSC under a soft window that ends 2 voxels inside a mask, one value per shell."""
    depth = ndimage.distance_transform_edt(mask)
    window = np.sin(np.clip((depth - 2) / 5, 0, 1) * np.pi / 2) ** 2
    a, b = (np.fft.rfftn((h - np.average(h, weights=window)) * window) for h in (half1, half2))
    fz, fy = (np.fft.fftfreq(n) for n in mask.shape[:2])
    k = np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + np.fft.rfftfreq(mask.shape[2]) ** 2)
    shell = np.rint(k / width).astype(int).ravel()
    cross, one, two = (
        np.bincount(shell, v.ravel())[: int(0.5 / width)]
        for v in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)
    )
    return cross / np.sqrt(one * two)


def test_measured_fsc_of_each_chain_follows_its_truth(two_balls, tmp_path):
    parameters = ModelParameters(
        structure=two_balls, b_factor=60.0, chain_resolution_angstrom={"B": 5.0}, snr=1.5
    )
    files = write_model(parameters, tmp_path)
    half1, half2, labels = (mrcfile.read(files.volumes[r]) for r in ("half1", "half2", "labels"))
    frequency = np.array(files.truth["curves"]["frequency_per_angstrom"])
    width = 0.04
    for label, name in ((1, "A"), (2, "B")):
        measured = fsc_inside(labels == label, half1, half2, width)[3:]
        shells = width * np.arange(3, 3 + len(measured))
        true = np.interp(shells, frequency, files.truth["curves"]["fsc"][name])
        # Balls of 25 000 voxels: shell n of width 0.04 holds 2 pi n^2 0.04^3 25 000 = 10 n^2
        # coefficients, an SD below 0.1 at n = 3 and 0.04 beyond n = 7; the soft mask takes in a
        # rim without density, and shells are wide.
        assert np.abs(measured - true).mean() < 0.05
        assert np.abs(measured - true).max() < 0.15


def test_chain_resolution_is_where_the_true_fsc_is_one_half(two_balls):
    wanted = {"A": 3.2, "B": 6.5}
    phantom = make_model(
        ModelParameters(structure=two_balls, b_factor=30.0, chain_resolution_angstrom=wanted)
    )
    for chain in phantom.chains:
        at = chain.fsc(np.array([1 / wanted[chain.name]]))
        assert at[0] == pytest.approx(0.5, abs=1e-9)
        # Random atoms have a spectrum that falls steadily: the first crossing is that one.
        assert chain.resolution_angstrom(0.5) == pytest.approx(wanted[chain.name], rel=0.02)


def test_b_factors_can_be_given_for_single_chains(two_balls):
    sharp = make_model(ModelParameters(structure=two_balls, b_factor=30.0, noise_sigma=0.1))
    mixed = make_model(
        ModelParameters(structure=two_balls, b_factor=30.0, chain_b={"B": 200.0}, noise_sigma=0.1)
    )
    assert mixed.chains[0].resolution_angstrom(0.5) == sharp.chains[0].resolution_angstrom(0.5)
    assert mixed.chains[1].resolution_angstrom(0.5) > sharp.chains[1].resolution_angstrom(0.5)
    middle = sharp.density.shape[2] // 2
    far = slice(0, middle - 12)
    # What is left is the ringing of the band limit, which B 30 does not hide.
    change = mixed.density[..., far] - sharp.density[..., far]
    assert change.std() < 0.01 * sharp.density[..., far].std()
    assert mixed.density[..., middle:].std() < 0.8 * sharp.density[..., middle:].std()


def test_low_pass_limits_the_truth(two_balls):
    phantom = make_model(
        ModelParameters(
            structure=two_balls, b_factor=10.0, resolution_angstrom=6.0, noise_sigma=0.001
        )
    )
    # Half of the amplitude is left at 6 A and nothing one edge (0.02 cycles/voxel) beyond.
    for chain in phantom.chains:
        assert 1 / (1 / 6 + 0.01) < chain.resolution_angstrom(0.5) < 6


def test_map_lies_on_the_structure(two_balls):
    phantom = make_model(ModelParameters(structure=two_balls, b_factor=20.0, noise_sigma=0.1))
    atoms = phantom.structure.atoms.positions_angstrom
    place = np.rint(atoms - np.array(phantom.grid.origin_angstrom)).astype(int)
    at_atoms = phantom.density[tuple(place.T)].mean()
    assert at_atoms > 5 * phantom.density.mean()
    assert np.all(phantom.labels[tuple(place.T)] > 0)


def test_noise_has_the_strength_of_the_snr(two_balls, tmp_path):
    files = write_model(ModelParameters(structure=two_balls, snr=0.5), tmp_path)
    phantom = make_model(ModelParameters(structure=two_balls, snr=0.5))
    half1, half2 = (mrcfile.read(files.volumes[r]) for r in ("half1", "half2"))
    sigma = files.truth["noise"]["sigma"]
    # 10^6 voxels: 0.1 %.
    assert (half1 - half2).std() / 2**0.5 == pytest.approx(sigma, rel=0.005)
    inside = phantom.labels > 0
    # Density of neighbours reaches into a chain's own territory a little.
    assert phantom.density[inside].var() / sigma**2 == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain_b": {"Q": 10.0}}, "no chain 'Q'; it has: A, B"),
        ({"assembly": "1"}, "no assembly '1'"),
        ({"shape": (40, 40, 40)}, "need a box of"),
        ({"chain_resolution_angstrom": {"A": 2.2}, "b_factor": 300.0}, "cannot reach 2.2"),
        ({"chain_resolution_angstrom": {"A": 1.2}}, "finer than Nyquist"),
        ({"chain_resolution_angstrom": {"A": 3.0}, "chain_b": {"A": 3.0}}, "one of them"),
        ({"b_factor": -1.0}, "0 or more"),
        ({"snr": 0.0}, "positive"),
        ({"seed": -1}, "seed lies between"),
        ({"noise_sigma": -0.1}, "0 or more"),
    ],
)
def test_impossible_models_are_refused(two_balls, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        write_model(replace(ModelParameters(structure=two_balls), **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_model_command_builds_assemblies_and_says_so(tmp_path, two_balls):
    app = typer.Typer()
    register(app)
    turned = [
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A, B",
    ]
    for number, sign in ((1, 1), (2, -1)):
        rows = ((sign, 0, 0, 0), (0, sign, 0, 0), (0, 0, 1, 40 * (number - 1)))
        for axis, (a, b, c, t) in enumerate(rows, start=1):
            turned.append(
                f"REMARK 350   BIOMT{axis} {number:3d} {a:9.6f} {b:9.6f} {c:9.6f} {t:14.5f}"
            )
    path = tmp_path / "dimer.pdb"
    path.write_text("\n".join(turned) + "\n" + two_balls.read_text())
    words = [
        "phantom", "model", str(path), "--assembly", "1", "--voxel-size", "3", "--chain-b",
        "A=40,B=400", "-o", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [(c["name"], c["copies"]) for c in said["chains"]] == [("A", 2), ("B", 2)]
    assert said["files"]["half1"].endswith("dimer_half1.mrc")
    labels = mrcfile.read(said["files"]["labels"])
    assert set(np.unique(labels)) == {0, 1, 2}
    for wrong in ("A", "A=x", "=3"):
        again = CliRunner().invoke(app, [*words[:-1], "--overwrite", "--chain-b", wrong])
        assert isinstance(again.exception, UsageError)
    missing = CliRunner().invoke(app, ["phantom", "model", str(tmp_path / "absent.pdb")])
    assert isinstance(missing.exception, InputError)
