"""One run to a directory: a lock file with the owner's name and a heartbeat."""

import atexit
import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path

import psutil

from distres.errors import OutputExistsError

logger = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
# An owner on another host cannot be asked whether it lives; its heartbeat tells.
STALE_SECONDS = 180.0

_held: dict[Path, "RunLock"] = {}
_guard = threading.Lock()


class RunLock:
    """The lock of one run directory, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = _own_name()
        self._stop = threading.Event()

    def _try(self) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            file.write(self._owner)
        threading.Thread(target=self._beat, name="distres-lock", daemon=True).start()
        return True

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                os.utime(self.path)
            except OSError:
                return

    def release(self) -> None:
        """Give the directory free, unless another run has taken it over."""
        self._stop.set()
        try:
            if self.path.read_text() == self._owner:
                self.path.unlink()
        except OSError:
            return


def hold(directory: Path) -> bool:
    """Take the lock of `directory` for this process; holding it already is fine.

    Returns
    -------
    bool
        Whether it was free before.

    Raises
    ------
    OutputExistsError
        Another living process holds it.
    """
    path = directory.resolve() / "run.lock"
    with _guard:
        if path in _held and path.exists():
            return False
        lock = RunLock(path)
        while not lock._try():
            _remove_stale(path)
        _held[path] = lock
    return True


def release(directory: Path) -> None:
    """Give a directory free, if this process holds it."""
    with _guard:
        lock = _held.pop(directory.resolve() / "run.lock", None)
    if lock is not None:
        lock.release()


@atexit.register
def _release_all() -> None:
    for path in list(_held):
        release(path.parent)


def _own_name() -> str:
    return json.dumps(
        {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": psutil.Process().create_time(),
        }
    )


def _remove_stale(path: Path) -> None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    if _lives(path, text):
        owner = _parse(text)
        raise OutputExistsError(
            f"{path.parent} is in use by process {owner.get('process', '?')} on host "
            f"{owner.get('host', '?')}; wait for it, choose another --output, or, if that process "
            f"is gone, remove {path}"
        )
    # Rename, then look: of two that take over at once, one must not remove the other's new lock.
    aside = path.with_name(f"run.lock.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
        if aside.read_text() != text:
            os.link(aside, path)
        aside.unlink()
    except (FileNotFoundError, FileExistsError):
        return
    logger.info("took over the lock that a run which is gone left in %s", path.parent)


def _parse(text: str) -> dict[str, object]:
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _lives(path: Path, text: str) -> bool:
    owner = _parse(text)
    if owner.get("host") == socket.gethostname():
        try:
            process = psutil.Process(int(str(owner.get("process"))))
            return bool(abs(process.create_time() - float(str(owner.get("started")))) < 2)
        except (psutil.NoSuchProcess, ValueError):
            return False
    # Compare with a file of the same disk: clocks of hosts differ.
    probe = path.with_name(f"run.lock.{uuid.uuid4().hex}")
    try:
        probe.touch()
        age = probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        age = time.time() - path.stat().st_mtime if path.exists() else STALE_SECONDS
    finally:
        probe.unlink(missing_ok=True)
    return age < STALE_SECONDS
