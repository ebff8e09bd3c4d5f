"""Lists of what makes up each half tomogram: from frames that were split, or from the tilts.

Nothing is computed. Where motion correction has already written even and odd images of every tilt,
each half gets its own images; where it has not, the tilts of a series go to the halves in turn.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemmi import cif

from distres.engine.files import write_durably
from distres.errors import InputError, OutputExistsError
from distres.io.halves import find_partner
from tomo.star import read_star

_IMAGES = (".mrc", ".mrcs", ".st", ".tif", ".tiff", ".eer")
# series_ORDER_ANGLE or series_ORDER[ANGLE], then anything: SerialEM, PACE-tomo, Tomo 5, Warp. An
# angle with decimals is looked for first, since whole numbers may be parts of the series' name.
_START = r"^(?P<series>.+?)[_-](?P<order>\d{1,4})(?:[_-]\[?|\[)"
_TILTS = (
    re.compile(_START + r"(?P<angle>[-+]?\d{1,2}\.\d+)"),
    re.compile(_START.replace("+?", "+") + r"(?P<angle>[-+]?\d{1,2})(?!\d)"),
)
# RELION 5: the even and odd images of every tilt, in the table of a tilt series.
_EVEN, _ODD = "_rlnMicrographNameEven", "_rlnMicrographNameOdd"
_NAME = "_rlnMicrographName"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSeries:
    """One tilt series in two halves.

    Attributes
    ----------
    name
        Of the series.
    how
        ``frames``: both halves hold every tilt. ``tilts``: every other tilt each.
    even, odd
        Names of the images, by tilt angle.
    """

    name: str
    how: str
    even: tuple[str, ...]
    odd: tuple[str, ...]


def split_series(places: Sequence[str]) -> list[SplitSeries]:
    """Split the tilt series of folders or of RELION's tilt series STAR files.

    Raises
    ------
    InputError
        A place holds no tilt images, or the even and odd images do not match.
    """
    found: list[SplitSeries] = []
    for place in places:
        path = Path(place)
        if path.suffix == ".star":
            found.append(_from_star(path))
        elif path.is_dir():
            found += _from_folder(path)
        else:
            raise InputError(f"{place} is neither a folder of tilt images nor a STAR file")
    names = [series.name for series in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"the series {twice[0]} was found more than once; give its places one at a time, with "
            "different --output folders"
        )
    return found


def write_split(
    series: Sequence[SplitSeries], folder: Path, *, overwrite: bool = False
) -> list[Path]:
    """Write ``<series>_even.txt`` and ``_odd.txt``, one image a line, and ``split.csv``.

    Raises
    ------
    OutputExistsError
        One of the files exists.
    """
    files = {
        folder / f"{one.name}_{half}.txt": names
        for one in series
        for half, names in (("even", one.even), ("odd", one.odd))
    }
    table = folder / "split.csv"
    there = [path for path in (*files, table) if path.exists()]
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} exists; use --overwrite or another --output")
    folder.mkdir(parents=True, exist_ok=True)
    for path, names in files.items():
        write_durably(path, "".join(f"{name}\n" for name in names).encode())
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "split_by", "even_images", "odd_images"])
        writer.writerows((s.name, s.how, len(s.even), len(s.odd)) for s in series)
    return [*files, table]


def _from_folder(folder: Path) -> list[SplitSeries]:
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGES)
    pairs: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    singles: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for path in images:
        tilt = next(filter(None, (pattern.match(path.name) for pattern in _TILTS)), None)
        if tilt is None:
            continue
        series, angle = tilt["series"], float(tilt["angle"])
        try:
            partner = find_partner(path)
        except InputError as error:
            if "was not found" in str(error):
                raise
            singles[series].append((angle, str(path)))
            continue
        if partner.is_second:
            pairs[series].append((angle, str(path), partner.path))
    if not pairs and not singles:
        raise InputError(
            f"no tilt image was found in {folder}; names must hold a number and an angle, as in "
            "TS_01_012_-34.0.mrc or Position_1_012[-34.00].eer"
        )
    found = [
        SplitSeries(name=name, how="frames", even=_column(rows, 1), odd=_column(rows, 2))
        for name, rows in sorted(pairs.items())
    ]
    # Whole images beside their halves, as motion correction leaves them, are not needed.
    return found + [
        _alternating(name, sorted(rows))
        for name, rows in sorted(singles.items())
        if name not in pairs
    ]


def _column(rows: Iterable[tuple[float, str, str]], place: int) -> tuple[str, ...]:
    return tuple(str(row[place]) for row in sorted(rows))


def _alternating(name: str, rows: list[tuple[float, str]]) -> SplitSeries:
    names = [image for _, image in rows]
    if len(names) < 2:
        raise InputError(f"the series {name} has one tilt only; two halves need two or more")
    return SplitSeries(name=name, how="tilts", even=tuple(names[0::2]), odd=tuple(names[1::2]))


def _from_star(path: Path) -> SplitSeries:
    for block in read_star(path):
        both = [[cif.as_string(v) for v in block.find_values(tag)] for tag in (_EVEN, _ODD)]
        if all(both):
            even, odd = (tuple(names) for names in both)
            return SplitSeries(name=path.stem, how="frames", even=even, odd=odd)
        names = [cif.as_string(v) for v in block.find_values(_NAME)]
        if names:
            return _alternating(path.stem, [(float(i), name) for i, name in enumerate(names)])
    raise InputError(
        f"{path} lists no images: rlnMicrographNameEven and Odd, or rlnMicrographName, are needed"
    )
