"""The local FSC end to end, on halves whose local FSC is known by construction."""

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from distres.engine.cluster import open_executor
from distres.engine.run import Run
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.masks import block_max
from distres.kernels.phantom import BlobPhantom, blob_halves
from distres.kernels.resample import halve_volume
from distres.methods.localfsc import LocalFscResult, run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters, choose_bands, levels_wanted
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.products import (
    FLAG_BORDER,
    FLAG_NEVER_ABOVE,
    FLAG_NYQUIST,
    FLAG_OUTSIDE,
    FLAG_RANGE_END,
)

Array = npt.NDArray[np.float32]
THRESHOLDS = (0.5, 0.143)


@dataclass(frozen=True)
class InMemory:
    """A source that is an array."""

    data: npt.NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.generic]:
        return self.data[region]

    def identity(self) -> dict[str, float]:
        return {"sum": float(self.data.astype(np.float64).sum())}


@dataclass(frozen=True)
class Answer:
    locres: Array
    flags: npt.NDArray[np.uint8]
    result: LocalFscResult


class Runner:
    """Runs the method in a fresh directory each time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(
        self,
        half1: Array,
        half2: Array,
        *,
        voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
        mask: npt.NDArray[np.generic] | None = None,
        tile: int | None = None,
        levels: int = 3,
        **parameters: object,
    ) -> Answer:
        self.count += 1
        grid = Grid(shape=half1.shape, voxel_size_angstrom=voxel_size)
        soft = None if mask is None else mask.astype(np.float32)
        with (
            Run.open(self.folder / str(self.count)) as run,
            open_executor("none") as executor,
        ):
            result = run_localfsc(
                pyramid(half1, levels),
                pyramid(half2, levels),
                grid,
                run,
                executor,
                LocalFscParameters(**parameters),  # type: ignore[arg-type]
                mask=None if soft is None else InMemory(soft),
                occupancy=None if soft is None else InMemory(block_max(soft, OCCUPANCY_DIVISOR)),
                tile=tile,
            )
            return Answer(
                locres=np.asarray(zarr.open_array(run.store, path=result.locres)[...]),
                flags=np.asarray(zarr.open_array(run.store, path=result.flags)[...]),
                result=result,
            )


def pyramid(half: Array, levels: int) -> list[InMemory]:
    found = [np.ascontiguousarray(half, dtype=np.float32)]
    for _ in range(levels - 1):
        found.append(halve_volume(found[-1]))
    return [InMemory(level) for level in found]


@pytest.fixture
def run_it(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="module")
def blob() -> BlobPhantom:
    return blob_halves((128, 128, 128), seed=101)


@pytest.fixture(scope="module")
def blob_answer(blob: BlobPhantom, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    runner = Runner(tmp_path_factory.mktemp("blob"))
    return runner(blob.half1, blob.half2, mask=blob.mask)


def wilson_halves(
    shape: tuple[int, int, int], b_factor: float, *, seed: int = 0, log_snr: float = 3.5
) -> tuple[Array, Array]:
    """Return halves with one Wilson decay everywhere and white noise."""
    rng = np.random.default_rng(seed)
    k2 = sum(
        np.meshgrid(
            *(np.fft.fftfreq(n) ** 2 for n in shape[:2]), np.fft.rfftfreq(shape[2]) ** 2,
            indexing="ij",
        )
    )  # fmt: skip
    white = rng.standard_normal(shape)
    amplitude = np.exp(log_snr / 2 - b_factor * k2 / 4)
    signal = np.fft.irfftn(np.fft.rfftn(white) * amplitude, s=shape, axes=(0, 1, 2))
    first, second = (signal + rng.standard_normal(shape) for _ in range(2))
    return first.astype(np.float32), second.astype(np.float32)


def wilson_resolution(b_factor: float, threshold: float, log_snr: float = 3.5) -> float:
    square = 2 * (log_snr - np.log(threshold / (1 - threshold))) / b_factor
    return float(1 / np.sqrt(square))


def medians(answer: Answer, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (thresholds, quadrants) medians over quadrant cores; undefined counts as infinite."""
    filled = np.where(np.isfinite(answer.locres), answer.locres, np.inf)
    return np.array([[np.median(v[labels == q]) for q in (1, 2, 3, 4)] for v in filled])


def check_accuracy(measured: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> None:
    # What the method promises: 5 % at 0.5, 8 % at 0.143.
    np.testing.assert_allclose(measured[0], truth[0], rtol=0.05)
    np.testing.assert_allclose(measured[1], truth[1], rtol=0.08)


def true_resolutions(phantom: BlobPhantom) -> npt.NDArray[np.float64]:
    return np.array(
        [[phantom.truth.resolution_angstrom(q, t) for q in (1, 2, 3, 4)] for t in THRESHOLDS]
    )


def test_quadrant_medians_of_a_blob_are_true(blob: BlobPhantom, blob_answer: Answer) -> None:
    check_accuracy(medians(blob_answer, blob.labels), true_resolutions(blob))


def test_quadrant_medians_of_the_fixed_pair_are_true(run_it: Runner, shared: Path) -> None:
    folder = shared / "oracles/blob128"
    half1, half2, mask, labels = (
        np.array(mrcfile.read(folder / f"{name}.mrc.gz"))
        for name in ("half1", "half2", "mask", "labels")
    )
    truth = np.array([[2.352, 4.065, 6.406, 9.747], [2.0, 3.326, 5.258, 8.032]])
    check_accuracy(medians(run_it(half1, half2, mask=mask > 0), labels), truth)


@pytest.mark.slow
@pytest.mark.parametrize("edge", [128, 192])
@pytest.mark.parametrize("seed", range(11, 16))
def test_five_other_blobs_are_true_too(run_it: Runner, edge: int, seed: int) -> None:
    phantom = blob_halves((edge,) * 3, seed=seed)
    answer = run_it(phantom.half1, phantom.half2, mask=phantom.mask)
    check_accuracy(medians(answer, phantom.labels), true_resolutions(phantom))


def test_noise_alone_is_never_above(run_it: Runner) -> None:
    rng = np.random.default_rng(4)
    halves = rng.standard_normal((2, 96, 96, 96), dtype=np.float32)
    answer = run_it(halves[0], halves[1])
    never = (answer.flags & FLAG_NEVER_ABOVE).astype(bool)
    assert never.mean(axis=(1, 2, 3)).min() > 0.95
    np.testing.assert_array_equal(never, np.isnan(answer.locres))


@pytest.mark.parametrize("tile", [64, 80])
def test_tiles_give_what_the_whole_volume_gives(
    run_it: Runner, blob: BlobPhantom, blob_answer: Answer, tile: int
) -> None:
    tiled = run_it(blob.half1, blob.half2, mask=blob.mask, tile=tile)
    assert tiled.result.tables["localfsc curves 0"].tiles.size > 1
    inside = blob.mask > 0
    for whole, part in zip(blob_answer.locres, tiled.locres, strict=True):
        both = np.isfinite(whole) & np.isfinite(part)
        close = np.zeros_like(both)
        close[both] = np.abs(part[both] / whole[both] - 1) < 0.02
        alike = close | (np.isnan(whole) & np.isnan(part))
        assert alike[inside].mean() > 0.99


def test_tiles_without_mask_are_never_read(run_it: Runner, blob: BlobPhantom) -> None:
    mask = np.zeros_like(blob.mask)
    mask[76:86, 76:86, 76:86] = 1
    answer = run_it(blob.half1, blob.half2, mask=mask, tile=32)
    assert answer.result.tables["localfsc curves 0"].tiles.size == 1
    assert answer.result.tables["localfsc crossings"].tiles.size == 1
    assert np.isfinite(answer.locres[:, mask > 0]).all()


def test_the_mask_decides_where_and_not_what(
    run_it: Runner, blob: BlobPhantom, blob_answer: Answer
) -> None:
    mask = np.zeros_like(blob.mask)
    mask[40:70, 50:90, 50:90] = 1
    mask *= blob.mask
    part = run_it(blob.half1, blob.half2, mask=mask)
    inside = mask > 0
    # The same curves; sums over batches of other lengths round differently.
    np.testing.assert_allclose(part.locres[:, inside], blob_answer.locres[:, inside], rtol=1e-5)
    assert np.isnan(part.locres[:, ~inside]).all()
    assert (part.flags[:, ~inside] == FLAG_OUTSIDE).all()


def test_every_masked_voxel_has_a_number_or_a_reason(
    blob: BlobPhantom, blob_answer: Answer
) -> None:
    inside = blob.mask > 0
    never = (blob_answer.flags & FLAG_NEVER_ABOVE) > 0
    np.testing.assert_array_equal(np.isfinite(blob_answer.locres)[:, inside], ~never[:, inside])


def test_a_lower_threshold_never_reads_coarser(blob: BlobPhantom, blob_answer: Answer) -> None:
    half, low = blob_answer.locres[:, blob.mask > 0]
    both = np.isfinite(half) & np.isfinite(low)
    # Two fits around two places: they may differ by a little where the curve is steep.
    assert (low[both] < half[both] * 1.02).mean() > 0.99


@pytest.mark.parametrize("scales", [(1e-4, 1e-4), (1.0, 30.0)])
def test_scale_and_offset_do_not_matter(run_it: Runner, scales: tuple[float, float]) -> None:
    half1, half2 = wilson_halves((48, 48, 48), 150)
    plain = run_it(half1, half2, levels=1)
    other = run_it(half1 * scales[0] + scales[0], half2 * scales[1], levels=1)
    np.testing.assert_allclose(other.locres, plain.locres, rtol=5e-3)


def test_swapping_the_halves_does_not_matter(run_it: Runner) -> None:
    half1, half2 = wilson_halves((48, 48, 48), 150)
    plain, swapped = run_it(half1, half2, levels=1), run_it(half2, half1, levels=1)
    np.testing.assert_allclose(swapped.locres, plain.locres, rtol=5e-3)


def test_a_turned_map_gives_a_turned_answer(run_it: Runner) -> None:
    # An odd edge, so that nodes fall on nodes.
    half1, half2 = wilson_halves((65, 65, 65), 150)
    plain = run_it(half1, half2, levels=1).locres
    turned = run_it(*(np.rot90(h, 1, (0, 2)) for h in (half1, half2)), levels=1).locres
    ratio = turned / np.rot90(plain, 1, (1, 3))
    assert (np.abs(ratio - 1) < 0.02).mean() > 0.98


def test_anisotropic_voxels_are_measured_in_angstrom(run_it: Runner) -> None:
    half1, half2 = wilson_halves((96, 64, 80), 300)
    # Every second plane along z, below whose Nyquist of 4 A nothing is asked.
    thin = [np.ascontiguousarray(halve_along_z(half)) for half in (half1, half2)]
    answer = run_it(*thin, voxel_size=(2.0, 1.0, 1.0), coarsest_angstrom=16.0)
    assert np.nanmedian(answer.locres[0]) == pytest.approx(wilson_resolution(300, 0.5), rel=0.05)


def halve_along_z(half: Array) -> Array:
    spectrum = np.fft.rfft(half, axis=0)[: half.shape[0] // 4 + 1]
    spectrum[-1] = 0
    return np.fft.irfft(spectrum, n=half.shape[0] // 2, axis=0).astype(np.float32)


def test_a_pyramid_changes_little(run_it: Runner) -> None:
    half1, half2 = wilson_halves((96, 96, 96), 500)
    flat, deep = run_it(half1, half2, levels=1), run_it(half1, half2, levels=3)
    assert deep.result.curves.keys() == {0, 1}
    ratio = (deep.locres / flat.locres)[:, 16:-16, 16:-16, 16:-16]
    assert (np.abs(ratio - 1) < 0.02).mean() > 0.97


def test_curves_above_to_the_end_say_so(run_it: Runner) -> None:
    half1, half2 = wilson_halves((48, 48, 48), 0.0)
    answer = run_it(half1, half2, levels=1)
    # In a corner of the volume the window is an eighth, and noise may end a curve before.
    inner = (..., *(slice(8, -8),) * 3)
    assert (answer.locres[inner] == 2).all()
    assert (answer.flags[inner] & FLAG_NYQUIST).all()


def test_the_end_of_the_requested_range_is_flagged(run_it: Runner) -> None:
    half1, half2 = wilson_halves((64, 64, 64), 60)
    answer = run_it(half1, half2, levels=1, finest_angstrom=4.0)
    assert (answer.locres == 4).all()
    assert (answer.flags & FLAG_RANGE_END).all()
    assert not (answer.flags & FLAG_NYQUIST).any()


def test_voxels_near_a_face_are_flagged(run_it: Runner) -> None:
    half1, half2 = wilson_halves((64, 64, 64), 150)
    border = (run_it(half1, half2, levels=1).flags & FLAG_BORDER) > 0
    assert border[:, 0].all()
    assert not border[:, 24:40, 24:40, 24:40].any()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"thresholds": ()}, "at least one threshold"),
        ({"thresholds": (1.5,)}, "between 0.01 and 0.99"),
        ({"thresholds": (0.5, 0.5)}, "must differ"),
        ({"finest_angstrom": 20.0, "coarsest_angstrom": 5.0}, "from fine to coarse"),
        ({"window_wavelengths": 0.1}, "window of 0.1 wavelengths"),
        ({"significance": 0.9}, "between 0 and 0.5"),
    ],
)
def test_senseless_parameters_are_refused(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LocalFscParameters(**parameters)  # type: ignore[arg-type]


def test_a_range_the_volume_cannot_hold_is_refused() -> None:
    grid = Grid(shape=(64, 64, 64), voxel_size_angstrom=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="must lie between 2 and 32 A"):
        choose_bands(grid, LocalFscParameters(coarsest_angstrom=50.0), 1)


def test_large_volumes_want_deeper_pyramids() -> None:
    parameters = LocalFscParameters()
    wanted = [
        levels_wanted(Grid(shape=(n,) * 3, voxel_size_angstrom=(1.0,) * 3), parameters)
        for n in (48, 128, 1024)
    ]
    assert wanted == sorted(wanted)
    assert wanted[0] < wanted[-1] <= 5


def test_a_few_broken_voxels_do_not_spread(run_it: Runner) -> None:
    half1, half2 = wilson_halves((64, 64, 64), 150)
    plain = run_it(half1, half2, levels=1)
    broken = half1.copy()
    broken[5, 5, 5], broken[6, 5, 5] = np.nan, np.inf
    answer = run_it(broken, half2, levels=1)
    np.testing.assert_allclose(answer.locres[:, 40:], plain.locres[:, 40:], rtol=0.01)
    assert np.isnan(broken[5, 5, 5])
