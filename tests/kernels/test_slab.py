"""A slab phantom's wedge is empty, its noise known, its rows independent of each other."""

import numpy as np
import pytest

from distres.errors import UsageError
from distres.kernels.slab import (
    SlabSpec,
    Templates,
    ice_slice,
    kept_fraction,
    measured_noise_sd,
    noise_field,
    place_particles,
    slab_rows,
    wedge_kept,
)

SHAPE = (40, 70, 64)


def ball(edge=16, radius=5.0):
    axis = np.arange(edge) - edge // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= radius**2
    return Templates(
        densities=np.stack([inside, inside]).astype(np.float32) * np.float32(3),
        masks=np.stack([inside, inside]),
        diameter_vox=2 * radius + 1,
    )


def whole(spec, templates=None):
    templates = templates or ball()
    places = place_particles(spec, templates)
    return slab_rows(spec, templates, places, slice(0, spec.shape[1]))


@pytest.mark.parametrize("shape", [SHAPE, (41, 32, 63)])
@pytest.mark.parametrize("tilts", [(-60.0, 60.0), (-40.0, 55.0)])
def test_nothing_is_measured_inside_the_wedge(shape, tilts):
    spec = SlabSpec(shape=shape, seed=1, tilt_range_degrees=tilts, ice=0.9)
    part = whole(spec)
    z, x = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[2])
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.degrees(np.arctan(z / x))
    empty = (angle < tilts[0] - 1e-9) | (angle > tilts[1] + 1e-9)
    for half in (part.even, part.odd):
        power = abs(np.fft.fft2(half, axes=(0, 2))) ** 2
        inside = power.transpose(1, 0, 2)[:, empty]
        outside = power.transpose(1, 0, 2)[:, ~empty]
        # Rounding of float32: 1e-7 of the amplitude, 1e-14 of the power.
        assert inside.max() < 1e-11 * outside.mean()
        # Outside, everything but the few unpaired Nyquist terms carries noise.
        assert (outside > 1e-6 * outside.mean()).mean() > 0.9


def test_wedge_of_sixty_degrees_keeps_two_thirds_of_a_square_plane_s_disc():
    spec = SlabSpec(shape=(256, 16, 256))
    kept = wedge_kept(spec)
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256))
    disc = (k < 0.49) & (k > 0.1) & (np.fft.rfftfreq(256) > 0)
    # Frequencies on the grid against an area: the rim counts for about 1 %.
    assert kept[disc].mean() == pytest.approx(120 / 180, abs=0.01)


def test_full_tilt_range_changes_nothing():
    spec = SlabSpec(shape=SHAPE, tilt_range_degrees=(-90.0, 90.0))
    assert wedge_kept(spec).all()
    assert kept_fraction(spec) == pytest.approx(1)
    sd = measured_noise_sd(spec, slice(0, 8))
    np.testing.assert_allclose(sd, noise_field(spec, slice(0, 8)), rtol=1e-5)


def test_noise_has_the_local_strength_of_the_truth():
    spec = SlabSpec(shape=(48, 256, 96), seed=2, depth_gain=2.0, edge_gain=1.0)
    part = whole(spec)
    noise = (part.even - part.odd) / 2**0.5 / part.noise_sd
    cells = noise.reshape(6, 8, 8, 32, 6, 16).transpose(0, 2, 4, 1, 3, 5).reshape(288, -1)
    # 4096 voxels a cell, about 0.7 of them independent: an SD of 1.3 %, five of them 7 %.
    assert np.abs(cells.std(axis=1) - 1).max() < 0.07
    assert noise.std() == pytest.approx(1, abs=0.01)
    # The field itself grows by what was asked for.
    field = noise_field(spec, slice(0, 256))
    assert field[0, 128, 48] / field[24, 128, 48] == pytest.approx(3, rel=0.05)
    assert part.noise_sd[0, 128, 48] > 1.7 * part.noise_sd[24, 128, 48]


def test_uniform_noise_keeps_the_measured_share_of_its_power():
    spec = SlabSpec(shape=SHAPE, depth_gain=0.0, edge_gain=0.0, noise_sigma=2.0)
    sd = measured_noise_sd(spec, slice(0, 4))
    np.testing.assert_allclose(sd, 2 * kept_fraction(spec) ** 0.5, rtol=1e-4)


def test_rows_alone_equal_the_cut_from_the_whole():
    spec = SlabSpec(shape=SHAPE, seed=3)
    templates = ball()
    places = place_particles(spec, templates)
    full = slab_rows(spec, templates, places, slice(0, SHAPE[1]))
    for rows in (slice(0, 32), slice(32, 70), slice(41, 43)):
        part = slab_rows(spec, templates, places, rows)
        for name in ("even", "odd", "labels", "noise_sd"):
            np.testing.assert_array_equal(getattr(part, name), getattr(full, name)[:, rows])


def test_particles_lie_in_the_ice_and_never_overlap():
    spec = SlabSpec(shape=(64, 96, 128), seed=4, ice=0.5, filling=0.7)
    templates = ball()
    places = place_particles(spec, templates)
    centres = places[:, :3]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    assert apart[~np.eye(len(centres), dtype=bool)].min() >= templates.diameter_vox
    part = whole(spec, templates)
    sections = np.flatnonzero((part.labels == 2).any(axis=(1, 2)))
    ice = ice_slice(spec)
    assert ice.start <= sections[0]
    assert sections[-1] < ice.stop
    assert np.count_nonzero(part.labels == 2) == len(places) * np.count_nonzero(templates.masks[0])
    assert len(places) > 10


def test_impossible_slabs_are_refused():
    with pytest.raises(UsageError, match="tilts run"):
        SlabSpec(shape=SHAPE, tilt_range_degrees=(60.0, -60.0))
    with pytest.raises(UsageError, match="fractions"):
        SlabSpec(shape=SHAPE, ice=0.0)
    with pytest.raises(UsageError, match="do not fit"):
        place_particles(SlabSpec(shape=(16, 32, 32), ice=0.5), ball())
