"""A run: one directory that holds its store, ledger and record."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import zarr

from distres.engine import elsewhere, lock
from distres.engine.files import folder_name, write_durably
from distres.errors import DistresError, InputError, OutputExistsError, ResumeError, UsageError
from distres.io.stores import StoreLike

_OWN = ("run.zarr", "ledger", "choices.json", "run.json", "status.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run directory: ``run.zarr`` (arrays), ``run.json`` (record), ``ledger/`` (what is done).

    The arrays may lie in an object store instead, which ``store.json`` then names.
    """

    directory: Path

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        store: str | None = None,
    ) -> "Run":
        """Create a run directory, or open one to go on with it.

        The directory is locked for this process until `close`, or the end of the process.

        Parameters
        ----------
        resume
            Go on with what is there; begin when there is nothing.
        overwrite
            Remove a run that is there: its store, ledger and record, nothing else.
        store
            ``s3://bucket/place`` for the arrays; None keeps them in the directory, or where they
            were when the run began.

        Raises
        ------
        OutputExistsError
            A run is there and neither was asked for, or another process is at work on it.
        InputError
            The place is a file.
        """
        directory = Path(directory)
        if re.match(r"\w+:/", str(directory)):
            raise UsageError(
                f"--output {directory} must be a folder: the ledger and the lock of a run need a "
                "file system; name one, and put the arrays into the object store with --store"
            )
        run = cls(directory=directory)
        if directory.exists() and not directory.is_dir():
            raise InputError(
                f"{directory} is a file; a run needs a directory, choose with --output"
            )
        try:
            directory.mkdir(parents=True, exist_ok=True)
            fresh = lock.hold(directory)
            run._begin(resume=resume, overwrite=overwrite, fresh=fresh, store=store)
        except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{directory} cannot be written ({error.strerror}); choose another --output"
            ) from error
        return run

    def _begin(self, *, resume: bool, overwrite: bool, fresh: bool, store: str | None) -> None:
        if self.exists and not (resume or overwrite):
            if fresh:
                self.close()
            raise OutputExistsError(
                f"{self.directory} already holds a run; use --resume to go on with it, "
                "--overwrite to replace it, or another --output"
            )
        if overwrite or not (resume or self.exists):
            # What a run leaves that ended before its first job binds nobody.
            self._remove()
        else:
            self._sweep()
        try:
            elsewhere.bind(self.directory, store)
            zarr.open_group(self.store, mode="a")
        except DistresError:
            if fresh:
                self.close()
            raise

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes use the directory."""
        lock.release(self.directory)

    @property
    def exists(self) -> bool:
        """Whether a run has left anything here: a ledger, a record, an array."""
        if (self.directory / "ledger").exists() or (self.directory / "run.json").exists():
            return True
        store = self.store_path
        return store.exists() and any(path.name != "zarr.json" for path in store.iterdir())

    @property
    def store_path(self) -> Path:
        """Folder of the work store, when it lies in the directory."""
        return self.directory / "run.zarr"

    @property
    def store(self) -> StoreLike:
        """The work store, as Zarr opens it."""
        return elsewhere.store_of(self.directory)

    def ledger_directory(self, job: str) -> Path:
        """Folder of one job's ledger."""
        return self.directory / "ledger" / folder_name(job)

    def remembered(self, what: str) -> dict[str, Any]:
        """Return what `remember` has kept under a heading."""
        try:
            kept: dict[str, Any] = json.loads((self.directory / "choices.json").read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ResumeError(
                f"{self.directory / 'choices.json'} is damaged ({error}); use --overwrite or "
                "another --output"
            ) from error
        found: dict[str, Any] = kept.get(what, {})
        return found

    def remember(self, what: str, key: str, value: Any) -> None:  # noqa: ANN401
        """Keep a choice that a resumed run must make again, whatever the machine offers then."""
        path = self.directory / "choices.json"
        kept = json.loads(path.read_bytes()) if path.exists() else {}
        kept.setdefault(what, {})[key] = value
        write_durably(path, (json.dumps(kept, indent=1) + "\n").encode())

    def clear(self) -> None:
        """Remove what the run holds, and begin anew; lock and place of the arrays stay."""
        place = elsewhere.place_of(self.directory)
        self._remove()
        elsewhere.bind(self.directory, place)
        zarr.open_group(self.store, mode="a")

    def write_record(self, record: dict[str, Any]) -> Path:
        """Write ``run.json``: what was run, with what, and what came out."""
        path = self.directory / "run.json"
        write_durably(path, (json.dumps(record, indent=2) + "\n").encode())
        return path

    def _remove(self) -> None:
        # The ledger goes first: without it nothing left behind counts as done.
        for name in reversed(_OWN):
            path = self.directory / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elsewhere.remove(self.directory)

    def _sweep(self) -> None:
        """Remove the halves of shards that a killed writer left."""
        for path in self.store_path.rglob("*.partial"):
            path.unlink(missing_ok=True)
