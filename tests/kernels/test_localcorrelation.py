import numpy as np
import pytest
import torch

from distres.kernels.bandfilter import FACE_PAD_VOX, HalfBlocks
from distres.kernels.bands import Band, plan_bands
from distres.kernels.localcorrelation import STRIDE, Windows, correlation_curves

WHOLE = ((True, True),) * 3
WINDOWS = Windows()
BANDS = plan_bands(voxel_size=1.0, lowest=0.13)


def halves(
    shape: tuple[int, int, int], signal: float = 1.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    common = signal * torch.randn(shape, generator=generator)
    first, second = (common + torch.randn(shape, generator=generator) for _ in range(2))
    return first, second


def curves(
    first: torch.Tensor, second: torch.Tensor, spacing: float = 1.0, **options: object
) -> torch.Tensor:
    return correlation_curves(
        first,
        second,
        spacing=(spacing, spacing, spacing),
        bands=BANDS,
        windows=WINDOWS,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("correlation", [0.0, 0.143, 0.5, 0.9])
def test_the_mean_correlation_is_unbiased(correlation: float) -> None:
    first, second = halves((80, 80, 80), np.sqrt(correlation / (1 - correlation)))
    c = curves(first, second)
    # SD 0.065 of one window; in 80^3 about 30 windows of 2.75 * 7 voxels at the lowest band, 1000
    # at the highest. Second-order bias in 1/n stays: n is 14 at least, 1/n^2 = 0.005.
    tolerance = 3 * 0.065 * (1 - correlation**2) / np.sqrt(30) + 0.005
    assert c.mean(dim=(1, 2, 3)).numpy() == pytest.approx(correlation, abs=tolerance)


def test_there_is_one_value_at_every_second_voxel() -> None:
    first, second = halves((33, 40, 27))
    assert curves(first, second).shape == (len(BANDS), 17, 20, 14)


@pytest.mark.parametrize("scales", [(1e-6, 1e-6), (1.0, 250.0), (1e5, -1.0)])
def test_the_scale_of_either_half_does_not_matter(scales: tuple[float, float]) -> None:
    first, second = halves((40, 40, 40))
    expected = curves(first, second)
    sign = np.sign(scales[0] * scales[1])
    scaled = curves(scales[0] * first, float(sign) * scales[1] * second)
    # float32 sums of squares.
    torch.testing.assert_close(scaled, expected, atol=2e-3, rtol=0)


def test_swapping_the_halves_changes_nothing_but_rounding() -> None:
    first, second = halves((40, 40, 40))
    torch.testing.assert_close(curves(second, first), curves(first, second), atol=1e-3, rtol=0)


def test_a_rotated_map_gives_the_rotated_answer() -> None:
    first, second = halves((41, 41, 41))
    turned = curves(*(torch.rot90(h, 1, (0, 2)) for h in (first, second)))
    difference = turned - torch.rot90(curves(first, second), 1, (1, 3))
    # The reduced grid of a band starts at one corner of the padded block, so its samples lie
    # elsewhere after a turn; their squares fold a little. The noise of C itself is 0.065.
    assert difference.square().mean().sqrt() < 0.005


def test_voxel_size_and_unit_are_one_thing() -> None:
    first, second = halves((40, 40, 40))
    bands = plan_bands(voxel_size=2.0, lowest=0.065)
    other = correlation_curves(first, second, spacing=(2, 2, 2), bands=bands, windows=WINDOWS)
    torch.testing.assert_close(other, curves(first, second), atol=1e-4, rtol=0)


def test_finer_sampling_along_one_axis_gives_the_same_correlation() -> None:
    # The same field on voxels of 1 and of 0.5 along z, the finer by zero-padding its transform.
    first, second = halves((48, 40, 40), 1.0)
    fine = []
    for half in (first, second):
        spectrum = torch.fft.fft(half, dim=0)
        spectrum[24] = 0
        wide = torch.zeros(96, 40, 40, dtype=spectrum.dtype)
        wide[:24], wide[-24:] = spectrum[:24], spectrum[24:]
        fine.append(2 * torch.fft.ifft(wide, dim=0).real)
    bands = [b for b in BANDS if b.top < 0.45]
    options = {"bands": bands, "windows": WINDOWS}
    coarse = correlation_curves(first, second, spacing=(1, 1, 1), **options)
    dense = correlation_curves(*fine, spacing=(0.5, 1, 1), **options)
    # Away from the faces along z, where reflection and the transform's own wrap differ; windows of
    # 2.5 voxels hold other samples, so single values differ by a fraction of their noise.
    difference = (dense[:, ::2] - coarse)[:, 8:-8]
    assert difference.abs().mean() < 0.01


def test_a_block_of_a_volume_gives_what_the_volume_gives() -> None:
    first, second = halves((128, 40, 40))
    expected = curves(first, second)
    faces = ((True, False), (True, True), (True, True))
    part = curves(first[:88], second[:88], faces=faces)
    # A halo of 32 voxels: 16 nodes of the part are spoiled.
    difference = (part - expected[:, :44])[:, :28]
    # As after a turn; a different mean and reach of the noise window add less.
    assert difference.square().mean().sqrt() < 0.005


def test_a_strong_neighbour_does_not_shine_through_walls() -> None:
    # A slab of signal 200 times the noise power beside pure noise. Two wavelengths into the noise,
    # one window of everything would read far above 0.5; the bounded average reads the slab's
    # share of the window.
    generator = torch.Generator().manual_seed(5)
    common = torch.randn(96, 48, 48, generator=generator) * np.sqrt(200)
    common[48:] = 0
    first, second = (common + torch.randn(96, 48, 48, generator=generator) for _ in range(2))
    band = Band(centre=0.2, half_octaves=0.7, nyquist=0.5)
    c = correlation_curves(first, second, spacing=(1, 1, 1), bands=[band], windows=WINDOWS)[0].mean(
        dim=(1, 2)
    )
    distance = torch.arange(48) * STRIDE - 47.5
    assert c[distance < -10].min() > 0.97
    assert c[distance > 10].max() < 0.25
    assert c[distance > 17].abs().max() < 0.1


def test_empty_halves_have_no_correlation() -> None:
    empty = torch.zeros(30, 30, 30)
    assert (curves(empty, empty) == 0).all()


def test_flat_regions_have_no_correlation() -> None:
    first, second = halves((64, 32, 32))
    first[32:] = 0
    second[32:] = 0
    assert torch.isfinite(curves(first, second)).all()


def test_cropping_the_spectrum_loses_nothing_of_the_band(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = halves((48, 40, 44))
    block = HalfBlocks.of(first, second, (1.0, 1.0, 1.0), WHOLE)
    narrow = Band(centre=0.08, half_octaves=0.7, nyquist=0.5)
    small, _ = block.filtered(narrow)
    monkeypatch.setattr("distres.kernels.bandfilter.SAMPLES_PER_PERIOD", 99.0)
    full, _ = block.filtered(narrow)
    assert small.numel() < 0.1 * full.numel()
    # Parseval on two grids; the radial table has 8192 steps.
    assert small.square().mean().item() == pytest.approx(full.square().mean().item(), rel=1e-3)


def test_faces_are_continued_by_reflection() -> None:
    first, second = halves((60, 20, 20))
    block = HalfBlocks.of(first, second, (1.0, 1.0, 1.0), WHOLE)
    assert block.before == (FACE_PAD_VOX,) * 3
    assert all(p >= n + 2 * FACE_PAD_VOX for p, n in zip(block.padded, (60, 20, 20), strict=True))


def test_a_filter_applied_to_both_halves_does_not_matter() -> None:
    first, second = halves((72, 72, 72))
    k2 = sum(
        np.meshgrid(
            *(np.fft.fftfreq(n) ** 2 for n in (72, 72)), np.fft.rfftfreq(72) ** 2, indexing="ij"
        )
    )
    for b_factor in (60.0, -60.0):
        envelope = torch.from_numpy(np.exp(-b_factor * np.minimum(k2, 0.25) / 4))
        filtered = [
            torch.fft.irfftn(torch.fft.rfftn(h) * envelope, s=h.shape).float()
            for h in (first, second)
        ]
        # Faces are continued by reflection, which an even filter commutes with but for its reach.
        difference = (curves(*filtered) - curves(first, second))[:, 12:-12, 12:-12, 12:-12]
        assert difference.abs().mean() < 0.01


def test_frequencies_that_a_filter_took_from_both_halves_do_not_correlate() -> None:
    first, second = halves((80, 80, 80), 3.0)
    k = np.sqrt(
        sum(
            np.meshgrid(
                *(np.fft.fftfreq(n) ** 2 for n in (80, 80)), np.fft.rfftfreq(80) ** 2, indexing="ij"
            )
        )
    )
    kept = torch.from_numpy(k < 0.3)
    cut = [torch.fft.irfftn(torch.fft.rfftn(h) * kept, s=h.shape).float() for h in (first, second)]
    c = curves(*cut)
    centres = np.array([band.centre for band in BANDS])
    # Shells of the noise spectrum are 0.007 wide, and the filter's edge spreads over a few.
    assert (c[torch.from_numpy(centres > 0.33)] == 0).all()
    assert (c[torch.from_numpy(centres < 0.2)].mean(dim=(1, 2, 3)) > 0.85).all()


def test_noise_that_rises_steeply_is_no_filter() -> None:
    first, second = halves((64, 64, 64), 2.0)
    k2 = sum(
        np.meshgrid(
            *(np.fft.fftfreq(n) ** 2 for n in (64, 64)), np.fft.rfftfreq(64) ** 2, indexing="ij"
        )
    )
    sharpen = torch.from_numpy(np.exp(25 * np.minimum(k2, 0.25)))
    sharp = [
        torch.fft.irfftn(torch.fft.rfftn(h) * sharpen, s=h.shape).float() for h in (first, second)
    ]
    # 0.8 everywhere; high frequencies are 500 times amplified and leak a little at the faces.
    inner = curves(*sharp)[:, 10:-10, 10:-10, 10:-10]
    assert inner.mean(dim=(1, 2, 3)).min() > 0.65
