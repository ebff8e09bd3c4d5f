"""How far a job is: one snapshot, shown as a bar, as log lines, and as ``status.json``."""

import json
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distres.engine.files import write_atomically

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

logger = logging.getLogger(__name__)

SHOW_SECONDS = 0.25
LOG_SECONDS = 30.0
STATUS_SECONDS = 2.0
RATE_TILES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a job stands.

    Attributes
    ----------
    state
        ``running``, ``finished``, ``interrupted`` or ``failed``.
    done
        Tiles with a result, those of earlier runs included.
    in_flight
        Tiles handed to workers and not back.
    tiles_per_second, eta_seconds
        Over the last tiles; None before the first.
    peak_memory_bytes
        Largest resident memory of any process that computed a tile.
    """

    job: str
    state: str
    total: int
    done: int
    failed: int = 0
    in_flight: int = 0
    tiles_per_second: float | None = None
    eta_seconds: float | None = None
    peak_memory_bytes: int = 0

    def __str__(self) -> str:
        text = f"{self.job}: {self.done} of {self.total} tiles"
        if self.failed:
            text += f", {self.failed} failed"
        if self.tiles_per_second is not None:
            text += f", {self.tiles_per_second:.3g} tiles/s"
        if self.state == "running" and self.eta_seconds is not None:
            text += f", {format_seconds(self.eta_seconds)} left"
        return text if self.state == "running" else f"{text}, {self.state}"


Watcher = Callable[[Progress], None]


def format_seconds(seconds: float) -> str:
    """Write a duration as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class LogLines:
    """Shows progress as a log line now and then, and one at the end."""

    def __init__(self, seconds: float = LOG_SECONDS) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def __call__(self, progress: Progress) -> None:
        """Log when it is time."""
        now = time.monotonic()
        if progress.state != "running" or now >= self._next:
            self._next = now + self._seconds
            logger.info("%s", progress)


class Bar:
    """Shows progress as a bar on the terminal (stderr)."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Redraw."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(progress.job, total=progress.total, facts="")
            self._bar.start()
        if self._task is not None:
            facts = str(progress).removeprefix(f"{progress.job}: ")
            self._bar.update(self._task, completed=progress.done, facts=facts)
        if progress.state != "running":
            self._bar.stop()
            self._bar = None
            logger.info("%s", progress)


def choose_watcher() -> Watcher:
    """Take a bar on a terminal, log lines elsewhere."""
    visible = sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
    return Bar() if visible else LogLines()


class Monitor:
    """Counts the tiles of one job and tells watchers and ``status.json``."""

    def __init__(
        self, *, job: str, total: int, done: int, directory: Path | None, watcher: Watcher | None
    ) -> None:
        self.job, self.total, self.done = job, total, done
        self.failed = 0
        self.in_flight = 0
        self.peaks: dict[str, int] = {}
        self._directory = directory
        self._watcher = watcher or choose_watcher()
        # Ends of the last tiles, the start first: their rate is the recent one.
        self._ends: deque[float] = deque([time.monotonic()], maxlen=RATE_TILES)
        self._show_at = 0.0
        self._status_at = 0.0

    def tile_done(self, process: str, peak_memory_bytes: int) -> None:
        """Count a finished tile."""
        self.done += 1
        self._ends.append(time.monotonic())
        self.peaks[process] = max(self.peaks.get(process, 0), peak_memory_bytes)

    def snapshot(self, state: str = "running") -> Progress:
        """Return where the job stands."""
        ends = len(self._ends) - 1
        span = (time.monotonic() if state == "running" else self._ends[-1]) - self._ends[0]
        rate = ends / span if ends and span > 0 else None
        left = self.total - self.done - self.failed
        return Progress(
            job=self.job,
            state=state,
            total=self.total,
            done=self.done,
            failed=self.failed,
            in_flight=self.in_flight,
            tiles_per_second=rate,
            eta_seconds=left / rate if rate else None,
            peak_memory_bytes=max(self.peaks.values(), default=0),
        )

    def tick(self) -> None:
        """Tell watchers, as often as is useful."""
        now = time.monotonic()
        if now >= self._show_at:
            self._show_at = now + SHOW_SECONDS
            progress = self.snapshot()
            self._watcher(progress)
            if now >= self._status_at:
                self._status_at = now + STATUS_SECONDS
                self._write(progress)

    def end(self, state: str) -> None:
        """Tell watchers how it ended."""
        progress = self.snapshot(state)
        self._watcher(progress)
        self._write(progress)

    def _write(self, progress: Progress) -> None:
        if self._directory is None:
            return
        status = {
            **asdict(progress),
            "process": os.getpid(),
            "host": socket.gethostname(),
            "updated": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        try:
            write_atomically(
                self._directory / "status.json", (json.dumps(status, indent=1) + "\n").encode()
            )
        except OSError as error:
            # A status that cannot be written must not end a run that still can.
            logger.debug("status.json: %s", error)
