"""DeepRes over tiles: the same as the whole, on the map's own grid, with ends flagged."""

import json
from math import ceil
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import torch
import xarray as xr
from scipy import ndimage

import distres
from distres.errors import InputError, UsageError
from distres.io.deepres_weights import load_weights, save_weights
from distres.io.grid import Grid
from distres.kernels.deepres import DeepResConfig, DeepResNetwork, seeded_network
from distres.kernels.symmetry import AsymmetricUnit
from distres.methods.deepres_model import choose_name, find_model
from distres.methods.deepres_plan import DeepResParameters, halo_for, node_step
from distres.methods.deepres_run import compute_deepres, dry_run
from distres.methods.options import RunOptions
from distres.methods.products import FLAG_COARSE_END, FLAG_FINE_END, FLAG_OUTSIDE

SHAPE = (26, 30, 28)


def config(**fields):
    given = {"voxel_size_angstrom": 1.0, "range_angstrom": (2.5, 13.0)}
    return DeepResConfig(**given | {"widths": (4, 4, 6, 6, 8, 8), "head": 8} | fields)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network: its answers mean nothing and differ from voxel to voxel."""
    network = seeded_network(config(), 3)
    with torch.no_grad():
        network.answer.weight[0] *= 3
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    save_weights(network, path, {})
    return str(path)


def density(shape=SHAPE, seed=0):
    """Lumps of noise: signal at all scales, weaker towards one side."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    return (values * np.linspace(0.3, 1, shape[2])).astype(np.float32)


def ball(shape=SHAPE, radius=10.0):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((a - (n - 1) / 2) ** 2 for a, n in zip(axes, shape, strict=True)) < radius**2


def compute(values, weights, voxel=(1.0, 1.0, 1.0), mask=None, **fields):
    """Run on an array with a voxel size for each axis."""
    axes = {a: np.arange(n) * v for a, n, v in zip("zyx", values.shape, voxel, strict=True)}
    given = [xr.DataArray(v, coords=axes, dims=tuple("zyx")) for v in (values, mask)]
    options = {name: fields.pop(name) for name in ("tile", "output") if name in fields}
    if "tile" not in options:
        return distres.deepres(given[0], given[1], weights=weights, **fields)
    run = RunOptions(
        output=options["output"], mask=given[1], tile_vox=options["tile"], device="cpu"
    )
    return compute_deepres(given[0], DeepResParameters(weights=weights, **fields), run).dataset(
        load=True
    )


def whole(values, weights):
    """The network over a map that is on its grid already, with mirrored faces."""
    padded = torch.from_numpy(np.pad(values, 6, mode="reflect"))
    with torch.inference_mode():
        return load_weights(Path(weights))(padded[None, None])[0].numpy()


def test_on_the_networks_own_grid_the_answer_is_the_network(weights):
    values, inside = density(), ball()
    found = compute(values, weights, mask=inside, smooth=0)
    resolution, uncertainty = whole(values, weights)
    # Resampling to the same grid leaves rounding alone.
    np.testing.assert_allclose(found.locres[0].values[inside], resolution[inside], rtol=1e-4)
    np.testing.assert_allclose(found.uncertainty.values[inside], uncertainty[inside], rtol=1e-4)
    assert np.isnan(found.locres[0].values[~inside]).all()
    assert np.isnan(found.uncertainty.values[~inside]).all()
    np.testing.assert_array_equal((found["flags"][0].values & FLAG_OUTSIDE) > 0, ~inside)


@pytest.mark.parametrize(
    ("voxel", "fields"),
    [((1.3, 1.3, 1.3), {}), ((0.8, 1.0, 1.5), {}), ((1.1, 1.1, 1.1), {"stride": 6})],
)
def test_tiles_give_what_the_whole_gives(tmp_path, weights, voxel, fields):
    values, inside = density(), ball()
    one = compute(values, weights, voxel, inside, tile=32, output=tmp_path / "one", **fields)
    many = compute(values, weights, voxel, inside, tile=16, output=tmp_path / "many", **fields)
    for name in ("locres", "uncertainty"):
        a, b = one[name].values, many[name].values
        # The 1e-5 of the values, which are angstroms up to 14.
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_array_equal(one["flags"].values, many["flags"].values)


def test_tiles_as_small_as_the_reach_of_averages_give_what_the_whole_gives(tmp_path, weights):
    # Averages reach 1.0 times 14.3 A at most: less than half of this map's length.
    values = density((14, 14, 64))
    inside = np.ones(values.shape, bool)
    one = compute(values, weights, mask=inside, tile=64, output=tmp_path / "one", smooth=1)
    many = compute(values, weights, mask=inside, tile=16, output=tmp_path / "many", smooth=1)
    raw = compute(values, weights, mask=inside, smooth=0)
    for name in ("locres", "uncertainty"):
        np.testing.assert_allclose(one[name].values, many[name].values, rtol=1e-5)
    # There was something to average.
    assert one.locres.values.std() < 0.7 * raw.locres.values.std()
    assert float(one.uncertainty.mean()) < float(raw.uncertainty.mean())


def test_the_scale_of_the_map_changes_nothing(weights):
    values, inside = density(), ball()
    one = compute(values, weights, (1.2,) * 3, inside).locres.values
    other = compute(values * np.float32(3e-7), weights, (1.2,) * 3, inside).locres.values
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_the_rim_of_the_mask_is_no_border(weights):
    # A smaller mask asks for fewer voxels and changes none of the others, without averages.
    values = density()
    large = compute(values, weights, (1.2,) * 3, ball(), smooth=0).locres[0].values
    small = compute(values, weights, (1.2,) * 3, ball(radius=7), smooth=0).locres[0].values
    inside = np.isfinite(small)
    np.testing.assert_array_equal(inside, ball(radius=7))
    np.testing.assert_allclose(small[inside], large[inside], rtol=1e-5)


def test_answers_lie_between_those_of_the_nodes_around_them(tmp_path, weights):
    # Four voxels of the network's grid to one of the map's: interpolation meets every fourth node.
    values = density((16, 16, 16))
    fine = compute(values, weights, (2.0,) * 3, np.ones(values.shape, bool)).locres[0].values
    assert np.isfinite(fine).all()
    assert fine.min() >= 4.0
    assert fine.max() <= 13.0 * 1.1 + 1e-3


def constant_network(value):
    """A network that answers one resolution everywhere."""
    network = DeepResNetwork(config())
    with torch.no_grad():
        for layer in (network.hidden, network.answer):
            layer.weight.zero_()
            layer.bias.zero_()
        low, high = np.log(2.5), np.log(13.0)
        network.answer.bias[0] = (np.log(value) - (low + high) / 2) / ((high - low) / 2)
    return network


@pytest.mark.parametrize(
    ("value", "voxel", "bit"),
    [
        (2.4, 1.0, FLAG_FINE_END),
        (13.5, 1.0, FLAG_COARSE_END),
        (6.0, 1.0, 0),
        (3.0, 1.6, FLAG_FINE_END),
    ],
)
def test_answers_at_the_ends_are_kept_and_flagged(tmp_path, value, voxel, bit):
    path = tmp_path / "constant.safetensors"
    save_weights(constant_network(value), path, {})
    inside = ball()
    found = compute(density(), str(path), (voxel,) * 3, inside)
    assert (found["flags"].values[0][inside] == bit).all()
    # Nothing finer than two voxels can be in a map.
    np.testing.assert_allclose(found.locres.values[0][inside], max(value, 2 * voxel), rtol=1e-4)
    warned = any("end of what model" in text for text in found.attrs["warnings"])
    assert warned == bool(bit)


def test_a_mask_multiplied_into_the_map_leaves_silence_without_answers(weights):
    values = density((40, 30, 28)) * (np.arange(40) < 15)[:, None, None].astype(np.float32)
    found = compute(values, weights, mask=np.ones(values.shape, bool))
    # Windows that begin beyond the last section with density hold nothing at all.
    assert np.isnan(found.locres[0, 15 + 6 :].values).all()
    assert np.isfinite(found.locres[0, : 15 + 6].values).all()
    assert any("holds no density" in text for text in found.attrs["warnings"])


def test_a_preview_equals_the_full_answer_at_its_nodes(weights):
    values = density((40, 40, 40))
    inside = np.ones(values.shape, bool)
    # Previews are not averaged.
    full = compute(values, weights, mask=inside, smooth=0).locres[0].values
    preview = compute(values, weights, mask=inside, stride=8).locres[0].values
    np.testing.assert_allclose(preview[::8, ::8, ::8], full[::8, ::8, ::8], rtol=1e-4)
    middle = (full[0, 0, 0] + full[0, 0, 8]) / 2
    assert preview[0, 0, 4] == pytest.approx(middle, rel=1e-4)


def test_a_stride_that_saves_nothing_is_not_taken(weights):
    grid = Grid(shape=SHAPE, voxel_size_angstrom=(1.0,) * 3)
    model = find_model("A", weights)
    assert node_step(grid, model, 2) == 1
    assert node_step(grid, model, 12) == 12
    found = compute(density(), weights, mask=ball(), stride=2)
    assert any("saves nothing" in text for text in found.attrs["warnings"])


def test_the_halo_holds_half_a_window_and_the_reach_of_the_resampling(weights):
    grid = Grid(shape=SHAPE, voxel_size_angstrom=(0.5, 1.0, 2.0))
    # Half a window and a node of 1 A each; 20 of the coarser voxels.
    model = find_model("A", weights)
    assert halo_for(grid, model, 1) == (14 + 40, 7 + 20, 4 + 20)
    # Averages reach as far as the window of the coarsest answer, 1.1 times 13 A, and a node.
    reach = 7 + 15 + 1
    assert halo_for(grid, model, 1, smooth=1.0) == (
        2 * reach + 40 + 1,
        reach + 20 + 1,
        ceil(reach / 2) + 20 + 1,
    )


def test_widths_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="not -1"):
        DeepResParameters(smooth=-1)
    with pytest.raises(UsageError, match=r"0 \(not at all\) to 4 resolutions, not 9"):
        DeepResParameters(smooth=9)


@pytest.mark.parametrize(
    ("voxel", "reach", "name"),
    [
        (1.05, (None, None), "A"),
        (0.7, (None, None), "B"),
        (0.7, (3.0, 10.0), "A"),
        (0.9, (2.0, 5.0), "B"),
        (0.9, (2.5, 6.0), "A"),
    ],
)
def test_voxel_size_and_range_choose_the_model(voxel, reach, name):
    grid = Grid(shape=SHAPE, voxel_size_angstrom=(voxel,) * 3)
    assert choose_name(grid, *reach, "auto") == name


def test_a_range_that_no_model_tells_is_refused():
    grid = Grid(shape=SHAPE, voxel_size_angstrom=(1.0,) * 3)
    with pytest.raises(UsageError, match=r"run B .* and A"):
        choose_name(grid, 2.0, 9.0, "auto")
    with pytest.raises(UsageError, match="3 to 20 A"):
        choose_name(grid, 3.0, 20.0, "auto")


def test_a_map_too_coarse_for_the_network_is_refused(weights):
    with pytest.raises(UsageError, match="too coarse"):
        compute(density(), weights, (7.0,) * 3, ball())


def write(path, values, voxel=1.1):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = voxel
    return str(path)


def test_a_run_leaves_maps_record_and_uncertainty_and_can_be_resumed(tmp_path, weights):
    given = write(tmp_path / "map.mrc", density())
    options = {"mask": write(tmp_path / "mask.mrc", ball()), "output": tmp_path / "run"}
    chosen = DeepResParameters(weights=weights, device="cpu")
    compute_deepres(given, chosen, RunOptions(**options))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["deepres"]["model"]["sha256"]
    assert list(record["statistics"]) == ["model seeded.safetensors"]
    for role in ("locres", "locres_fill", "uncertainty", "mask"):
        file = mrcfile.open(tmp_path / "run" / record["outputs"][role])
        assert file.data.shape == SHAPE
        assert float(file.voxel_size.x) == pytest.approx(1.1)
        assert np.isfinite(file.data).all()
    again = compute_deepres(given, chosen, RunOptions(resume=True, **options))
    assert again.record["statistics"] == record["statistics"]
    other = tmp_path / "other.safetensors"
    save_weights(seeded_network(config(), 4), other, {})
    with pytest.raises(InputError, match=r"model\.sha256 was"):
        compute_deepres(
            given,
            DeepResParameters(weights=str(other), device="cpu"),
            RunOptions(resume=True, **options),
        )


def test_without_a_mask_one_is_made(tmp_path, weights):
    values = density((48, 48, 48)) * ndimage.gaussian_filter(
        ball((48, 48, 48), 14).astype(np.float32), 1
    )
    values += 0.01 * np.random.default_rng(1).standard_normal(values.shape).astype(np.float32)
    done = compute_deepres(
        write(tmp_path / "map.mrc", values),
        DeepResParameters(weights=weights, stride=8, device="cpu"),
        RunOptions(output=tmp_path / "run"),
    )
    assert done.record["parameters"]["mask"]["kind"] == "particle"
    locres = done.dataset(load=True).locres[0].values
    assert np.isfinite(locres[24, 24, 24])
    assert np.isnan(locres[0, 0, 0])


def test_a_dry_run_plans_all_passes_and_leaves_nothing(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = write(tmp_path / "map.mrc", density())
    estimate = dry_run(
        given, DeepResParameters(weights=weights, device="cpu"), RunOptions(dry_run=True)
    )
    assert [job.job for job in estimate.jobs][-1] == "deepres"
    assert estimate.seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["map.mrc"]


def papers_weights(path):
    """Random weights of the paper's shape, of few filters."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["c/kernel:0"] = 0.1 * rng.standard_normal((13, 13, 13, 1, 2)).astype(np.float32)
        file["c/bias:0"] = np.zeros(2, np.float32)
        file["d/kernel:0"] = 0.2 * rng.standard_normal((4394, 4)).astype(np.float32)
        file["d/bias:0"] = np.zeros(4, np.float32)
        file["e/kernel:0"] = np.full((4, 1), 0.5, np.float32)
        file["e/bias:0"] = np.full(1, 3, np.float32)
    return str(path)


def test_the_papers_network_sees_the_whole_particle_around_a_unit(tmp_path):
    weights = papers_weights(tmp_path / "model_w13.h5")
    values = density()
    values += np.roll(np.flip(values, (1, 2)), 1, (1, 2))
    places = np.stack(np.indices(SHAPE), -1).reshape(-1, 3) - [float(n // 2) for n in SHAPE]
    inside = ((places**2).sum(axis=1) < 4.5**2).reshape(SHAPE)
    whole, copied = (
        compute(values, weights, mask=inside, symmetry=symmetry).locres[0].values
        for symmetry in ("C1", "C2")
    )
    own = AsymmetricUnit.of("C2").holds(places).reshape(SHAPE) & inside
    assert 0.5 <= own.sum() / inside.sum() < 0.6
    np.testing.assert_allclose(copied[own], whole[own], rtol=1e-5)
    np.testing.assert_array_equal(np.isfinite(copied), inside)


def test_the_papers_network_runs_on_the_masked_map(tmp_path):
    path = papers_weights(tmp_path / "model_w13.h5")
    inside = ball(radius=4)
    values = density()
    found = compute(values, path, mask=inside)
    noisy = np.where(ndimage.binary_dilation(inside, np.ones((3, 3, 3))), values, 100.0)
    other = compute(noisy.astype(np.float32), path, mask=inside)
    # What lies outside the mask, grown by a voxel, is not seen.
    np.testing.assert_allclose(found.locres.values, other.locres.values, rtol=1e-4)
    known = found.locres.values[0][inside]
    assert known.min() >= 2.5
    assert known.max() <= np.float32(12.9)
    assert np.ptp(known) > 0.1
    assert "uncertainty" not in found
    assert found.attrs["deepres"]["model"]["published"]
