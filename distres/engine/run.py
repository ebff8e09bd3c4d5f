"""A run: one directory that holds its store, ledger and record."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from distres.errors import OutputExistsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run directory: ``run.zarr`` (arrays), ``run.json`` (record), ``ledger/`` (what is done)."""

    directory: Path

    @classmethod
    def open(cls, directory: Path, *, resume: bool = False, overwrite: bool = False) -> "Run":
        """Create a run directory, or open one to go on with it."""
        run = cls(directory=directory)
        if run.store_path.exists() and not (resume or overwrite):
            raise OutputExistsError(
                f"{directory} already holds a run; use --resume to go on with it, --overwrite to "
                "replace it, or another --output"
            )
        directory.mkdir(parents=True, exist_ok=True)
        zarr.open_group(run.store, mode="w" if overwrite else "a")
        return run

    @property
    def store_path(self) -> Path:
        """Folder of the work store."""
        return self.directory / "run.zarr"

    @property
    def store(self) -> str:
        """Address of the work store."""
        return str(self.store_path)

    def write_record(self, record: dict[str, Any]) -> Path:
        """Write ``run.json``: what was run, with what, and what came out."""
        path = self.directory / "run.json"
        path.write_text(json.dumps(record, indent=2) + "\n")
        return path
