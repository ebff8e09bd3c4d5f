"""Point groups: their order, their axes, and units that tile space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.errors import UsageError
from distres.kernels.symmetry import AsymmetricUnit, operators, settings_of

ORDERS = {"C1": 1, "C7": 7, "D1": 2, "D3": 6, "D7": 14, "T1": 12, "T2": 12, "O": 24}
ORDERS |= {"I1": 60, "I2": 60}
GOLDEN = (1 + 5**0.5) / 2
# Products of a dozen rotations in double precision.
ROUNDING = 1e-12


def has_axis(setting: str, xyz: tuple[float, float, float], fold: int) -> bool:
    """Whether the group turns by 360 / fold degrees about an axis, and by nothing smaller."""
    axis = np.array(xyz[::-1]) / np.linalg.norm(xyz)
    about = [r for r in operators(setting) if np.abs(r @ axis - axis).max() < 1e-9]
    return len(about) == fold


@pytest.mark.parametrize(("setting", "order"), ORDERS.items())
def test_a_group_has_its_order_and_is_closed(setting: str, order: int) -> None:
    found = operators(setting)
    assert len(found) == order
    assert np.array_equal(found[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=ROUNDING)
    np.testing.assert_allclose(
        found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), found.shape), atol=ROUNDING
    )
    products = (found[:, None] @ found[None]).reshape(-1, 9)
    distance = np.abs(products[:, None] - found.reshape(1, -1, 9)).max(axis=2)
    # Every product is one of the group, and only one.
    assert ((distance < 1e-9).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("setting", "axis", "fold"),
    [
        ("C5", (0, 0, 1), 5),
        ("C5", (1, 0, 0), 1),
        ("D5", (0, 0, 1), 5),
        ("D5", (1, 0, 0), 2),
        ("D3", (0, 1, 0), 1),
        ("T1", (0, 0, 1), 2),
        ("T1", (1, 0, 0), 2),
        ("T1", (1, 1, 1), 3),
        ("T2", (0, 0, 1), 3),
        ("O", (0, 0, 1), 4),
        ("O", (1, 0, 0), 4),
        ("O", (1, 1, 1), 3),
        ("O", (1, 1, 0), 2),
        ("I1", (0, 0, 1), 2),
        ("I1", (1, 0, 0), 2),
        ("I1", (0, 1, GOLDEN), 5),
        ("I1", (1, 0, GOLDEN), 1),
        ("I1", (1, 0, GOLDEN**2), 3),
        ("I2", (0, 0, 1), 2),
        ("I2", (1, 0, GOLDEN), 5),
        ("I2", (0, 1, GOLDEN), 1),
        ("I2", (0, 1, GOLDEN**2), 3),
    ],
)
def test_the_axes_lie_where_the_settings_say(
    setting: str, axis: tuple[float, float, float], fold: int
) -> None:
    assert has_axis(setting, axis, fold)


def test_c4_turns_x_into_y() -> None:
    turned = {tuple((r @ (0, 0, 1)).round(9) + 0.0) for r in operators("C4")}
    assert (0, 1, 0) in turned


@pytest.mark.parametrize("setting", ORDERS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_point_has_one_mate_in_the_unit(setting: str, seed: int) -> None:
    unit = AsymmetricUnit.of(setting)
    points = np.random.default_rng(seed).normal(size=(50, 3))
    chosen = operators(setting)[unit.mates(points)]
    mates = np.einsum("nij,nj->ni", chosen, points)
    assert unit.holds(mates, margin=ROUNDING).all()
    # All mates of a point are taken to the same place.
    again = np.einsum("nij,nj->ni", operators(setting)[-1:].repeat(50, 0), points)
    other = np.einsum("nij,nj->ni", operators(setting)[unit.mates(again)], again)
    np.testing.assert_allclose(other, mates, atol=1e-9)


@pytest.mark.parametrize(("setting", "order"), ORDERS.items())
def test_the_unit_is_one_part_in_the_order(setting: str, order: int) -> None:
    points = np.random.default_rng(1).normal(size=(60_000, 3))
    share = AsymmetricUnit.of(setting).holds(points).mean()
    # Five standard deviations of a binomial share.
    assert abs(share - 1 / order) < 5 * (1 / order / 60_000) ** 0.5


def test_a_point_of_the_unit_stays_and_the_margin_widens_it() -> None:
    unit = AsymmetricUnit.of("I1")
    points = np.random.default_rng(2).normal(size=(5000, 3)) * 50
    inside = unit.holds(points)
    assert (unit.mates(points[inside]) == 0).all()
    wider = unit.holds(points, margin=5.0)
    assert wider[inside].all()
    assert wider.sum() > inside.sum()
    assert (unit.mates(points[wider & ~inside]) != 0).all()


@pytest.mark.parametrize(
    ("text", "found"),
    [("c7", ("C7",)), ("I", ("I1", "I2")), ("t", ("T1", "T2")), ("i2", ("I2",)), (" O ", ("O",))],
)
def test_a_symbol_names_its_settings(text: str, found: tuple[str, ...]) -> None:
    assert settings_of(text) == found


@pytest.mark.parametrize("text", ["", "C", "C0", "D", "D100", "I5", "H3", "C-2", "icosahedral"])
def test_what_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no point group"):
        settings_of(text)
