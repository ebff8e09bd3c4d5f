"""The half tomograms of a folder, of a STAR file, or of names given one by one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemmi import cif

from distres.errors import InputError
from distres.io.halves import find_partner
from tomo.star import read_star

# How RELION 5 and IsoNet 2 name the two halves.
STAR_COLUMNS = ["_rlnTomoReconstructedTomogramHalf1", "_rlnTomoReconstructedTomogramHalf2"]
_ENDINGS = (".mrc", ".mrcs", ".rec", ".map", ".mrc.gz", ".zarr")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomogramPair:
    """Two half tomograms and the name that stands for them in tables and folders."""

    name: str
    even: str
    odd: str


def find_pairs(given: Sequence[str]) -> list[TomogramPair]:
    """Find the pairs that a user named.

    Parameters
    ----------
    given
        Folders (searched with all their sub-folders), STAR files, cryoCARE's JSON, or single half
        tomograms whose other half is found by name.

    Returns
    -------
    list
        Every pair once, in the order found, with names that differ.

    Raises
    ------
    InputError
        Nothing was found in one of the places.
    """
    found: list[TomogramPair] = []
    for place in given:
        path = Path(place)
        if path.is_dir() and path.suffix != ".zarr":
            pairs = _in_folder(path)
        elif path.suffix == ".star":
            pairs = _in_star(path)
        elif path.suffix == ".json":
            pairs = _in_json(path)
        else:
            pairs = [_named(place)]
        if not pairs:
            raise InputError(
                f"no pair of half tomograms was found in {place}; names must end in half1/half2, "
                "even/odd or EVN/ODD, or lie in folders even/ and odd/"
            )
        found += pairs
    return _distinct(found)


def _named(path: str) -> TomogramPair:
    partner = find_partner(path)
    even, odd = (path, partner.path) if partner.is_second else (partner.path, path)
    return TomogramPair(name=_common_name(even, odd), even=even, odd=odd)


def _in_folder(folder: Path) -> list[TomogramPair]:
    names = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(_ENDINGS))
    pairs: list[TomogramPair] = []
    for path in names:
        try:
            partner = find_partner(path)
        except InputError:
            continue
        if partner.is_second:
            pairs.append(_named(str(path)))
    return pairs


def _in_star(path: Path) -> list[TomogramPair]:
    pairs = []
    for block in read_star(path):
        for row in block.find(STAR_COLUMNS):
            even, odd = (_beside(path, cif.as_string(row[i])) for i in range(2))
            pairs.append(TomogramPair(name=_common_name(even, odd), even=even, odd=odd))
    return pairs


def _in_json(path: Path) -> list[TomogramPair]:
    """Read cryoCARE's lists: ``{"even": [...], "odd": [...]}``."""
    try:
        lists = json.loads(path.read_text())
        both = (lists["even"], lists["odd"])
        evens, odds = ([x] if isinstance(x, str) else list(x) for x in both)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold the lists 'even' and 'odd'") from error
    if len(evens) != len(odds):
        raise InputError(
            f"{path} names {len(evens)} even and {len(odds)} odd tomograms; both lists must match"
        )
    pairs = []
    for even, odd in zip(evens, odds, strict=True):
        first, second = _beside(path, even), _beside(path, odd)
        pairs.append(TomogramPair(name=_common_name(first, second), even=first, odd=second))
    return pairs


def _beside(table: Path, name: str) -> str:
    """Return a file named in a table: RELION counts from the project, others from the table."""
    for start in (Path(), table.parent, *table.parents):
        if (start / name).exists():
            return str(start / name)
    raise InputError(
        f"{table} names {name}, which exists neither beside it nor in a folder above; run from the "
        "project's folder"
    )


def _common_name(even: str, odd: str) -> str:
    """Return what both names share: ``rec_TS_01`` for ``rec_TS_01_half1`` and its partner."""
    first, second = Path(even), Path(odd)
    if first.name == second.name:
        # Never "..", which would lead out of the folder of all runs.
        return _bare(first.name).lstrip(".") or "tomogram"
    a, b = _bare(first.name), _bare(second.name)
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    name = a[:start] + a[len(a) - end :]
    for word in ("half", "_volume", "_map"):
        name = name.replace(f"_{word.strip('_')}", "")
    return name.strip("_-. ") or a.lstrip(".") or "tomogram"


def _bare(name: str) -> str:
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _distinct(pairs: Iterable[TomogramPair]) -> list[TomogramPair]:
    """Drop repeated pairs and number repeated names."""
    seen: set[tuple[str, str]] = set()
    used: dict[str, int] = {}
    kept = []
    for pair in pairs:
        if (pair.even, pair.odd) in seen:
            continue
        seen.add((pair.even, pair.odd))
        used[pair.name] = used.get(pair.name, 0) + 1
        number = used[pair.name]
        name = pair.name if number == 1 else f"{pair.name}_{number}"
        kept.append(TomogramPair(name=name, even=pair.even, odd=pair.odd))
    return kept
