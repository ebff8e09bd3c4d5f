"""Small files that survive a crash: written beside, synced, renamed."""

import os
import re
from pathlib import Path


def folder_name(job: str) -> str:
    """Name the folder of a job: never a path of its own, nor the folder itself or its parent."""
    return re.sub(r"[^\w.=+-]|^\.", "_", job)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file whole: a reader sees the old or the new content, never a part."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file whole without waiting for the disk: for what is only looked at."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def append_durably(path: Path, data: bytes) -> None:
    """Append to a file and wait until the disk has it; on failure the file is as before."""
    before = path.stat().st_size if path.exists() else None
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # A torn line in the middle would hide the next one.
        os.truncate(path, before or 0)
        raise
    if before is None:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder last; file systems that cannot are let be."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
