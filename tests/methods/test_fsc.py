import hashlib
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pytest
import scipy.fft

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.errors import ClusterError, InputError, TileError, UsageError
from distres.io.volume import Grid
from distres.kernels.shells import Shells
from distres.methods import fsc_tiles
from distres.methods.fsc import FscParameters, compute_fsc

NOWHERE = Executor()


@dataclass(frozen=True)
class ArrayVolume:
    """A volume in memory: what `Volume` asks for and no more."""

    array: np.ndarray
    voxel: tuple[float, float, float] = (1.0, 1.0, 1.0)
    path: str = "array"
    header: None = None
    random_access: bool = True

    @property
    def grid(self):
        return Grid(shape=self.array.shape, voxel_size_angstrom=self.voxel)

    @property
    def shape(self):
        return self.array.shape

    def read(self, region):
        return self.array[region].astype(np.float32)

    def identity(self):
        return {"sha256": hashlib.sha256(self.array.tobytes()).hexdigest()}


def volume(array, voxel=(1.0, 1.0, 1.0)):
    return ArrayVolume(np.ascontiguousarray(array, dtype=np.float32), voxel)


def fsc(folder, half1, half2, mask=None, *, voxel=(1.0, 1.0, 1.0), executor=NOWHERE, **how):
    choices = {key: how.pop(key) for key in ("at_once", "tile_vox") if key in how}
    with Run.open(folder, resume=how.pop("resume", False)) as run:
        return compute_fsc(
            volume(half1, voxel),
            volume(half2, voxel),
            None if mask is None else volume(mask, voxel),
            FscParameters(**how),
            run,
            executor,
            **choices,
        )


def noise(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def shaped(shape, amplitude, seed, voxel=(1.0, 1.0, 1.0)):
    """White noise whose coefficients in shell i were multiplied by amplitude[i]."""
    shells = Shells(shape=shape, voxel_size_angstrom=voxel)
    spectrum = scipy.fft.rfftn(noise(shape, seed))
    gain = np.append(amplitude, 0.0)
    for z in range(shape[0]):
        spectrum[z] *= gain[shells.plane(z)]
    return scipy.fft.irfftn(spectrum, s=shape)


def ball(shape, radius, edge=0.0):
    axes = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in shape)]
    r = np.sqrt(sum(a.astype(float) ** 2 for a in axes))
    if edge == 0:
        return (r <= radius).astype(float)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((r - radius) / edge, 0, 1))


def low_pass_pair(shape, cut, seed, snr=30.0):
    """Halves with a strong common signal below shell `cut` and independent noise everywhere."""
    count = Shells(shape=shape, voxel_size_angstrom=(1.0, 1.0, 1.0)).count
    signal = shaped(shape, np.where(np.arange(count) < cut, np.sqrt(snr), 0.0), seed)
    return signal + noise(shape, seed + 1), signal + noise(shape, seed + 2)


def codes(result):
    return {found.code for found in result.findings}


def test_noise_halves_have_an_fsc_of_variance_one_over_n(tmp_path):
    shape = (48, 40, 45)
    result = fsc(tmp_path / "run", noise(shape, 1), noise(shape, 2))
    z = result.curves["unmasked"][1:] * np.sqrt(result.coefficients[1:])
    # z is standard normal per shell; the mean of k squares has SD sqrt(2 / k).
    assert np.mean(z**2) == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(z)))
    assert np.abs(z).max() < 4.5
    assert result.headline.state in ("never above", "crosses")
    # Whatever the low shells do by chance, nothing can be reported beyond the noise.
    assert result.headline.resolution_angstrom is None or {"below-noise"} & codes(result)


def test_a_known_signal_to_noise_ratio_gives_its_fsc(tmp_path):
    shape = (50, 50, 50)
    snr = np.linspace(30, 0, 26) ** 2 / 30  # power of the signal over that of the noise, by shell
    signal = shaped(shape, np.sqrt(snr), 3)
    result = fsc(tmp_path / "run", signal + noise(shape, 4), signal + noise(shape, 5))
    truth = snr / (1 + snr)
    z = (result.curves["unmasked"] - truth)[1:] * np.sqrt(result.coefficients[1:])
    # For jointly normal coefficients of correlation rho the SD is (1 - rho^2) / sqrt(n); a floor
    # of 1e-3 on it absorbs float32 rounding where rho is near 1.
    z /= np.maximum(1 - truth[1:] ** 2, 1e-3)
    assert np.abs(z).max() < 5
    crossing = np.interp(-0.5, -truth, np.arange(26)) / 50
    found = result.crossing("unmasked", "0.5").resolution_angstrom
    # The SD of the curve there (~2800 coefficients) is 0.014, its slope ~0.05 a shell.
    assert 1 / found == pytest.approx(crossing, abs=4 * 0.014 / 0.05 / 50)


def test_resampling_one_axis_leaves_the_physical_curve(tmp_path):
    shape = (64, 48, 48)
    first, second = low_pass_pair(shape, 9, 6, snr=2.0)
    fine = fsc(tmp_path / "fine", first, second)

    def coarse(half):
        spectrum = scipy.fft.fft(half, axis=0)
        kept = np.concatenate([spectrum[:16], spectrum[-16:]])
        kept[16] = 0  # the Nyquist plane of the coarse axis has no partner
        return scipy.fft.ifft(kept, axis=0).real / 2

    coarse_result = fsc(tmp_path / "coarse", coarse(first), coarse(second), voxel=(2.0, 1.0, 1.0))
    assert coarse_result.shells.count == 17
    assert coarse_result.shells.nyquist_per_angstrom == pytest.approx(0.25)
    # Up to the shell before Nyquist both hold the same coefficients; float32 is what differs.
    np.testing.assert_allclose(
        coarse_result.curves["unmasked"][:16], fine.curves["unmasked"][:16], atol=3e-6
    )


def test_the_correction_removes_what_a_tight_mask_makes(tmp_path):
    shape, cut = (48, 48, 48), 5
    first, second = low_pass_pair(shape, cut, 10, snr=300.0)
    result = fsc(tmp_path / "run", first, second, ball(shape, 9), repeats=5)
    tail = slice(cut + 4, None)
    masked, corrected = result.curves["masked"][tail], result.curves["corrected"][tail]
    assert masked[:4].mean() > 0.3  # the mask does matter in this test
    # SD of a shell: 1/sqrt(n_eff) for the masked curve and a fifth of that variance for the mean
    # of five repeats, divided by 1 - C_n; neighbouring shells count as two thirds of one.
    spread = np.sqrt(1.2 / result.effective[tail]) / (1 - result.curves["randomised"][tail])
    assert abs(corrected.mean()) < 4 * np.sqrt(1.5 * np.sum(spread**2)) / len(corrected)
    assert np.abs(corrected / spread).max() < 5
    assert "mask-correlation" in codes(result) or result.headline.resolution_angstrom > 48 / (
        cut + 2
    )


def test_randomised_halves_show_what_the_mask_makes_alone(tmp_path):
    # Beyond the signal the halves are noise, as are their randomised copies: the masked and the
    # randomised curve measure the same leakage there.
    shape, cut = (48, 48, 48), 5
    first, second = low_pass_pair(shape, cut, 20, snr=300.0)
    result = fsc(tmp_path / "run", first, second, ball(shape, 9), repeats=5)
    assert result.first_randomised_shell in (cut, cut + 1)
    tail = slice(cut + 4, None)
    gap = (result.curves["masked"] - result.curves["randomised"])[tail]
    assert np.abs(gap * np.sqrt(result.effective[tail] / 1.2)).max() < 5


def test_a_wide_soft_mask_changes_little_and_the_corrected_curve_is_reported(tmp_path):
    shape = (40, 40, 40)
    snr = 60 * np.exp(-(np.arange(21) ** 2) / 32)
    signal = shaped(shape, np.sqrt(snr), 30)
    first, second = signal + noise(shape, 31), signal + noise(shape, 32)
    result = fsc(tmp_path / "run", first, second, ball(shape, 12, 7))
    assert result.reported == "corrected"
    # snr = 1/6, an FSC of 0.143, at shell 4 sqrt(2 ln 360) = 13.7; the SD of the masked curve
    # there (~500 degrees of freedom) is 0.045, its slope 0.1 a shell: 0.45 of a shell.
    assert 40 / result.headline.resolution_angstrom == pytest.approx(13.7, abs=4 * 0.45)
    assert not {"hard-mask", "mask-at-edge", "mask-correlation"} & codes(result)


@pytest.mark.parametrize("shape", [(24, 20, 22), (23, 17, 19), (5, 36, 9), (33, 4, 8)])
def test_slabs_give_what_the_whole_volume_gives(tmp_path, shape):
    first, second = low_pass_pair(shape, 3, 40)
    mask = ball(shape, max(shape) / 3, 4)
    voxel = (1.0, 1.3, 0.9)
    whole = fsc(tmp_path / "whole", first, second, mask, voxel=voxel, at_once=True)
    slabs = fsc(tmp_path / "slabs", first, second, mask, voxel=voxel, at_once=False, tile_vox=5)
    assert slabs.first_randomised_shell == whole.first_randomised_shell
    for name, curve in whole.curves.items():
        # float32 transforms are good to a few 1e-7; curves are ratios of their sums.
        np.testing.assert_allclose(slabs.curves[name], curve, atol=2e-6, err_msg=name)


def test_slabs_without_a_mask_need_no_randomisation(tmp_path):
    first, second = low_pass_pair((24, 20, 22), 3, 41)
    whole = fsc(tmp_path / "whole", first, second, at_once=True)
    slabs = fsc(tmp_path / "slabs", first, second, at_once=False, tile_vox=6)
    np.testing.assert_allclose(slabs.curves["unmasked"], whole.curves["unmasked"], atol=2e-6)
    assert set(slabs.curves) == {"unmasked"}


def test_slabs_leave_no_transforms_behind_and_resume_to_the_same_bits(tmp_path):
    first, second = low_pass_pair((24, 20, 22), 3, 42)
    mask = ball((24, 20, 22), 7, 3)
    once = fsc(tmp_path / "run", first, second, mask, at_once=False, tile_vox=6)
    left = {path.name for path in (tmp_path / "run" / "run.zarr" / "fsc").iterdir()}
    assert not left & {"plain", "masked", "repeat0", "repeat1", "repeat2"}
    again = fsc(tmp_path / "run", first, second, mask, at_once=False, tile_vox=6, resume=True)
    for name, curve in once.curves.items():
        np.testing.assert_array_equal(again.curves[name], curve)


def test_a_run_that_broke_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    first, second = low_pass_pair((24, 20, 22), 3, 45)
    mask = ball((24, 20, 22), 7, 3)
    how = {"at_once": False, "tile_vox": 6}
    expected = fsc(tmp_path / "once", first, second, mask, **how)
    healthy = fsc_tiles.mask_again

    @wraps(healthy)
    def breaks(inputs, parameters):
        if parameters["prefix"] == "fsc/repeat1" and inputs.tile.index == 2:
            raise OSError("gone")
        return healthy(inputs, parameters)

    monkeypatch.setattr(fsc_tiles, "mask_again", breaks)
    with pytest.raises(TileError, match="gone"):
        fsc(tmp_path / "run", first, second, mask, **how)
    monkeypatch.setattr(fsc_tiles, "mask_again", healthy)
    result = fsc(tmp_path / "run", first, second, mask, resume=True, **how)
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(result.curves[name], curve)


def test_memory_decides_between_whole_and_slabs(tmp_path):
    # 96^3 x 32 bytes is 28 MB beyond the process's own 400 MB: 512 MB is not enough (four fifths
    # are used) and 1 GB is.
    first, second = noise((96, 96, 96), 43), noise((96, 96, 96), 44)
    for memory, job in ((510_000_000, "fsc-planes"), (1_000_000_000, "fsc-whole")):
        folder = tmp_path / job
        fsc(folder, first, second, executor=Executor(memory_bytes=memory))
        assert (folder / "ledger" / job).is_dir()


def test_a_memory_too_small_for_one_plane_is_refused_with_what_works(tmp_path):
    with pytest.raises(ClusterError, match="at least 501 MB"):
        fsc(tmp_path / "run", noise((8, 64, 64), 1), noise((8, 64, 64), 2),
            executor=Executor(memory_bytes=100_000_000))  # fmt: skip


def test_swapping_the_halves_changes_no_curve_but_the_random_one(tmp_path):
    first, second = low_pass_pair((32, 32, 32), 5, 50)
    mask = ball((32, 32, 32), 9, 4)
    result = fsc(tmp_path / "a", first, second, mask)
    swapped = fsc(tmp_path / "b", second, first, mask)
    for name in ("unmasked", "masked"):
        np.testing.assert_array_equal(result.curves[name], swapped.curves[name])
    gap = (result.curves["randomised"] - swapped.curves["randomised"])[7:]
    # Two independent means of three repeats.
    assert np.abs(gap * np.sqrt(result.effective[7:] * 3 / 2)).max() < 5


def test_scale_and_offset_of_a_half_do_not_matter(tmp_path):
    first, second = low_pass_pair((32, 32, 32), 5, 51)
    mask = ball((32, 32, 32), 9, 4)
    result = fsc(tmp_path / "a", first, second, mask)
    scaled = fsc(tmp_path / "b", 1e-12 * first, 100 + 3e3 * second, mask)
    for name, curve in result.curves.items():
        # An offset of 100 over a deviation of 2e4 costs float32 nothing.
        np.testing.assert_allclose(scaled.curves[name], curve, atol=5e-6, err_msg=name)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_curve(tmp_path):
    first, second = low_pass_pair((24, 24, 24), 4, 52)
    mask = ball((24, 24, 24), 6)
    curves = [
        fsc(tmp_path / str(i), first, second, mask, seed=seed).curves["randomised"]
        for i, seed in enumerate((7, 7, 8))
    ]
    np.testing.assert_array_equal(curves[0], curves[1])
    assert (curves[0] != curves[2]).any()


def test_randomisation_starts_where_the_user_says(tmp_path):
    first, second = low_pass_pair((32, 32, 32), 5, 53)
    result = fsc(
        tmp_path / "run", first, second, ball((32, 32, 32), 9, 4), randomise_from_angstrom=4.0
    )
    assert result.first_randomised_shell == 8
    assert result.randomised_from_angstrom == pytest.approx(4.0)
    np.testing.assert_array_equal(result.curves["corrected"][:10], result.curves["masked"][:10])


def test_symmetry_lowers_the_degrees_of_freedom_and_raises_the_criteria(tmp_path):
    first, second = low_pass_pair((24, 24, 24), 4, 54)
    plain = fsc(tmp_path / "a", first, second)
    capsid = fsc(tmp_path / "b", first, second, symmetry_order=60)
    assert (capsid.criteria["half-bit"] >= plain.criteria["half-bit"]).all()
    assert capsid.effective[-1] == pytest.approx(plain.effective[-1] / 60)


def test_identical_halves_never_fall_and_are_named(tmp_path):
    half = noise((24, 24, 24), 60)
    result = fsc(tmp_path / "run", half, half)
    assert result.curves["unmasked"] == pytest.approx(1.0)
    assert result.headline.state == "never falls"
    assert result.headline.resolution_angstrom is None
    assert codes(result) == {"identical-halves"}


def test_halves_that_share_noise_to_nyquist_are_named(tmp_path):
    common = noise((24, 24, 24), 61)
    result = fsc(
        tmp_path / "run", common + noise(common.shape, 62), common + noise(common.shape, 63)
    )
    assert "never-falls" in codes(result)
    assert result.crossing("unmasked", "0.143").state == "never falls"


def test_halves_that_were_masked_before_are_named(tmp_path):
    first, second = low_pass_pair((32, 32, 32), 5, 64)
    inside = ball((32, 32, 32), 11, 3)
    assert "pre-masked" in codes(fsc(tmp_path / "a", first * inside, second * inside))
    # A solvent of any constant, seen through the mask.
    offset = first * inside + 5.0
    assert "pre-masked" in codes(fsc(tmp_path / "b", offset, second, ball((32, 32, 32), 13, 3)))
    assert "pre-masked" not in codes(fsc(tmp_path / "c", first, second, inside))


def test_halves_that_were_filtered_before_are_named(tmp_path):
    shape = (40, 40, 40)
    amplitude = np.where(np.arange(21) < 10, 1.0, 0.0)
    first, second = (shaped(shape, amplitude, seed) for seed in (65, 66))
    assert "pre-filtered" in codes(fsc(tmp_path / "a", first, second))
    assert "pre-filtered" not in codes(fsc(tmp_path / "b", *low_pass_pair(shape, 10, 67, snr=1e3)))


def test_a_mask_that_hurts_is_named(tmp_path):
    shape = (40, 40, 40)
    first, second = low_pass_pair(shape, 10, 68, snr=2.0)
    hard = fsc(tmp_path / "a", first, second, ball(shape, 9))
    assert "hard-mask" in codes(hard)
    box = np.zeros(shape)
    box[:20] = 1.0
    assert "mask-at-edge" in codes(fsc(tmp_path / "b", first, second, box))


def test_an_unmasked_curve_that_beats_the_corrected_one_is_named(tmp_path):
    # The particle is the left half of the box; the mask covers solvent.
    shape = (40, 40, 40)
    first, second = noise(shape, 70), noise(shape, 71)
    signal = shaped(shape, np.where(np.arange(21) < 12, 3.0, 0.0), 72)
    signal[:, :, 20:] = 0
    mask = np.roll(ball(shape, 5, 4), 10, axis=2)
    result = fsc(tmp_path / "run", first + signal, second + signal, mask)
    assert {"unmasked-better", "never-above"} & codes(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, np.nan, a), "1 voxels that"),
        (lambda a: np.full_like(a, 4.0), "value 4 everywhere"),
    ],
)
def test_a_half_without_a_correlation_is_refused(tmp_path, change, message):
    half = noise((12, 12, 12), 80)
    with pytest.raises(InputError, match=message):
        fsc(tmp_path / "run", change(half), half)


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.full((12, 12, 12), 255.0), "255 to 255"), (np.zeros((12, 12, 12)), "0 everywhere")],
)
def test_a_mask_out_of_range_is_refused(tmp_path, mask, message):
    with pytest.raises(InputError, match=message):
        fsc(tmp_path / "run", noise((12, 12, 12), 81), noise((12, 12, 12), 82), mask)


def test_volumes_on_different_grids_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"half 2 has \(12, 12, 14\)"):
        fsc(tmp_path / "a", noise((12, 12, 12), 83), noise((12, 12, 14), 84))
    with Run.open(tmp_path / "b") as run, pytest.raises(InputError, match="voxels of"):
        compute_fsc(
            volume(noise((12, 12, 12), 85)),
            volume(noise((12, 12, 12), 86), (1.0, 1.0, 1.1)),
            None,
            FscParameters(),
            run,
            NOWHERE,
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": (1.5,)},
        {"thresholds": ()},
        {"repeats": 0},
        {"randomise_from_angstrom": -1.0},
        {"seed": -1},
    ],
)
def test_parameters_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        FscParameters(**wrong)


def test_the_dataset_has_every_curve_over_frequency(tmp_path):
    first, second = low_pass_pair((24, 24, 24), 4, 90)
    result = fsc(tmp_path / "run", first, second, ball((24, 24, 24), 6, 3))
    data = result.to_dataset()
    assert data["frequency"].attrs["units"] == "1/angstrom"
    for name in ("unmasked", "masked", "randomised", "corrected"):
        np.testing.assert_array_equal(data[f"fsc_{name}"].values, result.curves[name])
    assert data.attrs["resolution_angstrom"] == result.headline.resolution_angstrom
