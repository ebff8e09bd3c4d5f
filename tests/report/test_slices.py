"""Slices show what lies there, at its place and in its colour, and read nothing else."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from matplotlib.image import imread

from distres.report.colours import UNRESOLVED, Limits, colour, hex_to_rgb
from distres.report.planes import mask_centre, paint, read_planes
from distres.report.slices import draw, nice_length, write_png

LIMITS = Limits(high_res=3.0, low_res=9.0)
SHAPE, VOXEL = (10, 20, 30), (3.0, 1.0, 2.0)


@dataclass
class Counted:
    data: np.ndarray
    read_vox: list = field(default_factory=list)

    @property
    def shape(self):
        return self.data.shape

    def read(self, region):
        part = self.data[region]
        self.read_vox.append(part.size)
        return part

    def identity(self):
        return {}


@pytest.fixture
def sources():
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    resolution = (3 + 6 * x / 29).astype(np.float32)
    resolution[:, :5] = np.nan
    mask = ((x >= 6) & (y >= 2) & (z >= 1)).astype(np.float32)
    density = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return Counted(density), Counted(resolution), Counted(mask)


def planes_of(sources, at=None):
    density, resolution, mask = sources
    return read_planes((density,), resolution, mask, voxel_size_angstrom=VOXEL, at=at)


def test_only_three_planes_are_read(sources):
    planes = planes_of(sources, at=(4, 7, 11))
    for source in sources:
        assert source.read_vox == [20 * 30, 10 * 30, 10 * 20]
    assert [plane.index for plane in planes] == [4, 7, 11]
    assert [plane.names for plane in planes] == [("y", "x"), ("z", "x"), ("z", "y")]
    assert [plane.extent_angstrom for plane in planes] == [(20, 60), (30, 60), (30, 20)]
    np.testing.assert_array_equal(planes[1].density, sources[0].data[:, 7, :])


def test_two_halves_are_shown_as_their_mean(sources):
    density, resolution, mask = sources
    both = read_planes(
        (density, Counted(density.data * 3)), resolution, mask, voxel_size_angstrom=VOXEL
    )
    np.testing.assert_allclose(both[0].density, density.data[5] * 2, rtol=1e-6)


def test_colour_only_inside_the_mask_and_grey_outside(sources):
    plane = planes_of(sources)[0]
    painted = paint(plane, LIMITS, (-2.0, 2.0))
    inside = plane.mask > 0.5
    outside = painted[~inside]
    assert (outside == outside[:, :1]).all()
    assert painted[10, 20].tolist() == colour(plane.resolution[10, 20], LIMITS).tolist()
    assert painted[3, 20].tolist() == list(hex_to_rgb(UNRESOLVED))


def test_pixels_of_the_png_lie_where_the_voxels_are(tmp_path, sources):
    planes = planes_of(sources)
    figure = draw(planes, LIMITS)
    dpi = 100
    figure.set_dpi(dpi)
    path = write_png(tmp_path / "s.png", planes, LIMITS, dpi=dpi)
    picture = np.rint(255 * imread(path)[..., :3]).astype(int)
    width, height = figure.get_size_inches()
    assert picture.shape[:2] == (int(height * dpi), int(width * dpi))
    checked = 0
    for axes in figure.axes:
        if not axes.get_label().startswith("resolution"):
            continue
        plane = next(p for p in planes if axes.get_label().endswith("zyx"[p.axis]))
        rows, columns = plane.mask.shape
        for row, column in ((rows // 2, columns // 2), (rows - 3, columns - 4)):
            centre = (
                (column + 0.5) * plane.extent_angstrom[1] / columns,
                (row + 0.5) * plane.extent_angstrom[0] / rows,
            )
            px, py = axes.transData.transform(centre)
            seen = picture[picture.shape[0] - 1 - int(py), int(px)]
            expected = paint(plane, LIMITS, (0.0, 1.0))[row, column].astype(int)
            # Both voxels lie in the mask, whose colours no grey range changes.
            assert plane.mask[row, column] == 1
            np.testing.assert_allclose(seen, expected, atol=1)
            checked += 1
    assert checked == 6


def test_all_panels_have_one_scale(sources):
    figure = draw(planes_of(sources), LIMITS)
    size = figure.get_size_inches()
    scales = []
    for axes in figure.axes:
        if axes.get_label() == "colour bar":
            continue
        box = axes.get_position()
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        scales += [box.width * size[0] / (x1 - x0), box.height * size[1] / (y1 - y0)]
    assert np.ptp(scales) < 1e-9
    assert len(scales) == 12


def test_no_two_panels_overlap_and_all_lie_on_the_page(sources):
    boxes = [axes.get_position() for axes in draw(planes_of(sources), LIMITS).axes]
    for i, a in enumerate(boxes):
        assert a.x0 >= 0
        assert a.y0 >= 0
        assert a.x1 <= 1
        assert a.y1 <= 1
        for b in boxes[i + 1 :]:
            assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0


def test_the_mask_centre_comes_from_its_occupancy():
    occupancy = np.zeros((4, 5, 6), dtype=np.float32)
    occupancy[2, 1, 4] = 1
    assert mask_centre(Counted(occupancy), 8, (32, 40, 48)) == (20, 12, 36)
    assert mask_centre(Counted(occupancy * 0), 8, (32, 40, 48)) == (16, 20, 24)


@pytest.mark.parametrize(
    ("about", "length"), [(32, 20), (50, 50), (99, 50), (0.7, 0.5), (1e3, 1e3)]
)
def test_scale_bars_have_round_lengths(about, length):
    assert nice_length(about) == pytest.approx(length)
