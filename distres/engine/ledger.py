"""What is done: one line a finished tile and its row, on disk only after its write returned.

Layout of a job's folder: ``job.json`` (fingerprint), ``tiles.jsonl`` (a line a tile) and
``rows-N.npz`` (rows of a batch of tiles, no pickle). The driver alone writes here.
"""

import json
import logging
import os
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.files import append_durably, write_durably
from distres.engine.fingerprint import differences
from distres.engine.tables import Row, Table
from distres.errors import ClusterError, ResumeError

logger = logging.getLogger(__name__)

# Written when this long has passed, or sooner: a disk that syncs fast is asked more often, so that
# a killed run loses little, and never for more than a twentieth of the time.
FLUSH_SECONDS = 2.0
FLUSH_SHARE = 0.05
FLUSH_TILES = 1000
FLUSH_BYTES = 16 * 2**20
# More small segments than this are merged into one: clusters count files.
MERGE_AT = 64
MERGE_BYTES = 8 * 2**20


class Ledger:
    """The finished tiles of one job."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.done: set[int] = set()
        self._lines: list[str] = []
        self._rows: list[tuple[int, Row]] = []
        self._pending: list[int] = []
        self._pending_bytes = 0
        self._schema: dict[str, tuple[str, tuple[int, ...]]] | None = None
        self._segments: list[Path] = []
        self._small: list[Path] = []
        self._next = 0
        self._flushed_at = time.monotonic()
        self._wait_seconds = 0.1

    @classmethod
    def open(cls, directory: Path, fingerprint: Mapping[str, Any], *, job: str) -> "Ledger":
        """Open the ledger of a job, or begin it.

        Raises
        ------
        ResumeError
            It was begun with other inputs or parameters.
        """
        ledger = cls(directory)
        stored = stored_fingerprint(directory)
        if stored is None:
            directory.mkdir(parents=True, exist_ok=True)
            text = json.dumps(fingerprint, indent=1, sort_keys=True)
            write_durably(directory / "job.json", text.encode())
            return ledger
        changed = differences(stored, fingerprint)
        if changed:
            more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
            raise ResumeError(
                f"{job}: the stored run differs from this one: {'; '.join(changed[:3])}{more}; "
                "give the stored values, or use --overwrite or another --output"
            )
        ledger._load()
        return ledger

    @property
    def _lines_path(self) -> Path:
        return self.directory / "tiles.jsonl"

    def _load(self) -> None:
        for left_over in self.directory.glob("*.partial"):
            left_over.unlink()
        with_rows: set[int] = set()
        for path in sorted(self.directory.glob("rows-*.npz")):
            self._next = max(self._next, int(path.stem.split("-")[1]) + 1)
            tiles = _tiles_of(path)
            if tiles is None:
                logger.warning("%s is damaged; its tiles are computed again", path)
                path.unlink()
                continue
            with_rows.update(tiles)
            self._keep(path)
        for line in _whole_lines(self._lines_path):
            if "failed" not in line and (not line["row"] or line["tile"] in with_rows):
                self.done.add(line["tile"])

    def _keep(self, path: Path) -> None:
        self._segments.append(path)
        if path.stat().st_size < MERGE_BYTES // MERGE_AT:
            self._small.append(path)

    def add(self, tile: int, row: Row, facts: Mapping[str, Any] | None = None) -> None:
        """Note a finished tile; it counts as done once `flush` has run.

        Raises
        ------
        ClusterError
            The row has other names, types or shapes than those before.
        """
        schema = {name: (str(value.dtype), value.shape) for name, value in row.items()}
        if self._schema is None:
            self._schema = schema
        if schema != self._schema:
            raise ClusterError(f"its row holds {schema}, the rows before hold {self._schema}")
        self._pending.append(tile)
        self._lines.append(json.dumps({"tile": tile, "row": bool(row), **(facts or {})}))
        if row:
            self._rows.append((tile, row))
            self._pending_bytes += sum(value.nbytes for value in row.values())

    def fail(self, tile: int, message: str) -> None:
        """Note a tile that failed for good; it is tried again when the run is resumed."""
        self._lines.append(json.dumps({"tile": tile, "failed": message}))

    @property
    def is_due(self) -> bool:
        """Whether what has gathered is old or large enough to be written."""
        return (
            len(self._lines) >= FLUSH_TILES
            or self._pending_bytes >= FLUSH_BYTES
            or time.monotonic() - self._flushed_at >= self._wait_seconds
        )

    def flush(self) -> None:
        """Write rows, then lines, so that a line never promises a row that is not there."""
        self._flushed_at = started = time.monotonic()
        if not self._lines:
            return
        if self._rows:
            self._write_segment(self._rows)
            self._rows = []
            self._pending_bytes = 0
        append_durably(self._lines_path, "".join(line + "\n" for line in self._lines).encode())
        self._lines = []
        self.done.update(self._pending)
        self._pending = []
        if len(self._small) >= MERGE_AT:
            self._merge()
        cost = time.monotonic() - started
        self._wait_seconds = min(FLUSH_SECONDS, max(0.1, cost / FLUSH_SHARE))

    def _write_segment(self, rows: Iterable[tuple[int, Row]]) -> None:
        rows = list(rows)
        columns = {f"row.{n}": np.stack([row[n] for _, row in rows]) for n in rows[0][1]}
        columns["tiles"] = np.array([tile for tile, _ in rows], dtype=np.int64)
        self._save(columns)

    def _save(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        path = self.directory / f"rows-{self._next:06d}.npz"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        self._next += 1
        self._keep(path)

    def _merge(self) -> None:
        """Put many small segments into one; a crash in between leaves copies, which is harmless."""
        old, self._small = self._small, []
        parts = [_read(path) for path in old]
        self._save({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        self._segments = [path for path in self._segments if path not in set(old)]
        for path in old:
            path.unlink()

    def table(self, tiles: Iterable[int]) -> Table:
        """Return the rows of `tiles`, in ascending order of the index."""
        wanted = np.unique(np.fromiter(tiles, dtype=np.int64))
        parts = [_read(path) for path in self._segments]
        if not parts:
            return Table(tiles=wanted, columns={})
        stored = np.concatenate([part["tiles"] for part in parts])
        # Of a tile that was computed twice either row will do: they are equal.
        found, first = np.unique(stored, return_index=True)
        missing = np.setdiff1d(wanted, found)
        if len(missing):
            raise ClusterError(
                f"{self.directory} holds no row of {len(missing)} tiles, first {missing[0]}; "
                "go on with --resume to compute them"
            )
        rows = first[np.searchsorted(found, wanted)]
        columns = {
            name.removeprefix("row."): np.concatenate([part.pop(name) for part in parts])[rows]
            for name in list(parts[0])
            if name != "tiles"
        }
        return Table(tiles=wanted, columns=columns)


def stored_fingerprint(directory: Path) -> dict[str, Any] | None:
    """Return what a job's folder was begun with, None when there is none."""
    try:
        stored: dict[str, Any] = json.loads((directory / "job.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ResumeError(
            f"{directory / 'job.json'} is damaged ({error}); use --overwrite or another --output"
        ) from error
    return stored


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, and cut off a last line that was torn."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    lines = []
    for text in data[:whole].splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            logger.warning("%s holds a damaged line; its tile is computed again", path)
            continue
        if isinstance(line, dict) and "tile" in line and ("row" in line or "failed" in line):
            lines.append(line)
    return lines


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _tiles_of(path: Path) -> list[int] | None:
    """Return the tiles whose rows a segment holds, None when it cannot be read whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as file:
            return [int(tile) for tile in file["tiles"]]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
