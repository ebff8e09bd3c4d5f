"""Half maps and half tomograms: finding the partner by name, and refusing pairs that are none."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distres.errors import InputError
from distres.io.grid import require_same_grid
from distres.io.stores import has_node, is_object_address
from distres.io.volume import Volume, VolumeLike, open_volume

_FIRST = ("1", "a", "even", "evn")
_COMPARE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A naming habit: a pattern with the group `half`, and what the other half is called."""

    name: str
    pattern: re.Pattern[str]
    other: dict[str, str]
    in_folder: bool = False


def _rule(name: str, pattern: str, first: str, second: str, *, in_folder: bool = False) -> Rule:
    return Rule(
        name=name,
        pattern=re.compile(pattern, re.IGNORECASE),
        other={first: second, second: first},
        in_folder=in_folder,
    )


# Tried in this order; the first that leads to something that exists decides. Every occurrence in
# the name is swapped, as RELION does.
RULES = (
    _rule("EMDB half_map_1 / half_map_2", r"half_map_(?P<half>[12])(?!\d)", "1", "2"),
    _rule("half_map_A / half_map_B", r"half_map_(?P<half>[ab])(?![a-z0-9])", "a", "b"),
    _rule("cryoSPARC half_A / half_B", r"half_(?P<half>[ab])(?![a-z0-9])", "a", "b"),
    _rule("RELION half1 / half2", r"half(?P<half>[12])(?!\d)", "1", "2"),
    _rule(
        "half-1 / half-2", r"half[-_. ]?(?:map|volume|vol)?[-_. ]?(?P<half>[12])(?!\d)", "1", "2"
    ),
    _rule(
        "half-A / half-B",
        r"half[-_. ]?(?:map|volume|vol)?[-_. ]?(?P<half>[ab])(?![a-z0-9])",
        "a",
        "b",
    ),
    _rule("AreTomo EVN / ODD", r"(?<![a-z])(?P<half>evn|odd)(?![a-z])", "evn", "odd"),
    _rule("even / odd in the name", r"(?<![a-z])(?P<half>even|odd)(?![a-z])", "even", "odd"),
    _rule("Warp and M folders even / odd", r"^(?P<half>even|odd)$", "even", "odd", in_folder=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The other half of a pair.

    Attributes
    ----------
    path
        Its path.
    rule
        The naming rule that led to it.
    is_second
        Whether it is half 2 (2, B, odd) and the given file half 1.
    """

    path: str
    rule: str
    is_second: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfPair:
    """Two halves that lie on one grid and differ in their voxels.

    Attributes
    ----------
    first, second
        Half 1 (1, A, even) and half 2 (2, B, odd).
    rule
        How the partner was found, for the user.
    """

    first: Volume
    second: Volume
    rule: str


def find_partner(path: str | Path) -> Partner:
    """Find the other half by its name.

    Parameters
    ----------
    path
        One half: file, OME-Zarr folder or URL.

    Raises
    ------
    InputError
        When no naming rule fits, or the partner does not exist, with the names that were tried.
    """
    text = str(path).rstrip("/")
    tried: list[str] = []
    for rule in RULES:
        swapped = _swap(rule, text)
        if swapped is None or swapped[0] in tried:
            continue
        candidate, is_second = swapped
        if _exists(candidate):
            return Partner(path=candidate, rule=rule.name, is_second=is_second)
        tried.append(candidate)
    if tried:
        raise InputError(
            f"the other half of {text} was not found; {' and '.join(tried)} "
            f"{'does' if len(tried) == 1 else 'do'} not exist; name the second half"
        )
    raise InputError(
        f"the name of {text} follows no known rule for half maps (half1/half2, half_A/half_B, "
        "half_map_1/half_map_2, even/odd, EVN/ODD, folders even/odd); name the second half"
    )


def open_halves(
    half1: VolumeLike, half2: VolumeLike | None = None, pixel_size: float | None = None
) -> HalfPair:
    """Open both halves and make sure they can be compared.

    Parameters
    ----------
    half1
        One half; when it is the only one given, its name leads to the other, and the pair is put
        in order (1, A and even come first).
    half2
        The other half; always wins over the naming rules.
    pixel_size
        Replaces the voxel size of both.

    Raises
    ------
    InputError
        No partner, another shape, voxel size or position, or twice the same data.
    """
    rule = "both halves were given"
    if half2 is None:
        if not isinstance(half1, str | Path):
            raise InputError("an array has no name that leads to its other half; give both halves")
        if not _exists(str(half1)):
            raise InputError(f"{half1} does not exist; check its name and folder")
        partner = find_partner(half1)
        rule = partner.rule
        half2 = partner.path
        if not partner.is_second:
            half1, half2 = half2, half1
    first = open_volume(half1, pixel_size)
    second = open_volume(half2, pixel_size)
    check_halves(first, second)
    return HalfPair(first=first, second=second, rule=rule)


def check_halves(first: Volume, second: Volume) -> None:
    """Refuse halves on different grids and halves with the same voxels.

    Raises
    ------
    InputError
        Naming both values, or both names.
    """
    if _same_place(first.path, second.path):
        raise InputError(f"both halves are {first.path}; a resolution needs two different halves")
    require_same_grid(first, second)
    if _same_voxels(first, second):
        raise InputError(
            f"{first.path} and {second.path} hold the same voxels; a resolution needs two "
            "independent halves"
        )


def _swap(rule: Rule, path: str) -> tuple[str, bool] | None:
    """Return the partner's path under a rule and whether it is half 2; None if it does not fit."""
    parts = path.split("/")
    places = range(len(parts) - 2, -1, -1) if rule.in_folder else [len(parts) - 1]
    for place in places:
        found = rule.pattern.search(parts[place])
        if found is None:
            continue
        parts[place] = rule.pattern.sub(lambda match: _other_half(rule, match), parts[place])
        return "/".join(parts), found["half"].lower() in _FIRST
    return None


def _other_half(rule: Rule, match: re.Match[str]) -> str:
    """Replace the half inside a match, in the case it was written in."""
    half = match["half"]
    other = rule.other[half.lower()]
    if half.isupper():
        other = other.upper()
    elif half[0].isupper():
        other = other.capitalize()
    start = match.start("half") - match.start()
    return match[0][:start] + other + match[0][start + len(half) :]


def _exists(path: str) -> bool:
    if "://" not in path:
        return Path(path).exists()
    if is_object_address(path):
        return has_node(path)
    import fsspec

    files, inner = fsspec.core.url_to_fs(path)
    return bool(files.exists(inner))


def _same_place(first: str, second: str) -> bool:
    if "://" in first or "://" in second:
        return first.rstrip("/") == second.rstrip("/")
    one, two = Path(first), Path(second)
    return one.exists() and two.exists() and one.samefile(two)


def _same_voxels(first: Volume, second: Volume) -> bool:
    """Compare voxels: first a few planes that are cheap to reach, all only if those agree."""
    depth, height, width = first.shape
    if first.random_access and second.random_access:
        for z in (depth // 2, depth // 3, depth - 1):
            plane = (slice(z, z + 1), slice(height), slice(width))
            if not np.array_equal(first.read(plane), second.read(plane)):
                return False
    thickness = max(1, _COMPARE_BYTES // (4 * height * width))
    pairs = zip(first.slabs(thickness), second.slabs(thickness), strict=False)
    for (region, values), (other_region, others) in pairs:
        if region != other_region:  # axes stored in another order
            others = second.read(region)
        if not np.array_equal(values, others):
            return False
    return True
