"""Many tiles to a task, when tiles are so short that tasks cost more than they do."""

from collections import deque
from statistics import median

from distres.engine.tasks import Outcome


class Packer:
    """Chooses how many neighbouring tiles travel together: one, unless tiles are very short.

    A task costs a few milliseconds of the scheduler's time, whatever it does.
    """

    target_seconds = 0.5
    short_seconds = 0.1
    most = 256
    row_bytes = 4 * 2**20

    def __init__(self, workers: int) -> None:
        self._workers = max(workers, 1)
        self._seconds: deque[float] = deque(maxlen=64)
        self._row_bytes = 1

    def note(self, outcome: Outcome) -> None:
        """Learn from a finished tile."""
        self._seconds.append(outcome.seconds)
        self._row_bytes = max(self._row_bytes, sum(v.nbytes for v in outcome.row.values()))

    def size(self, left: int) -> int:
        """Return how many tiles to send together while `left` wait."""
        if len(self._seconds) < 8:
            return 1
        typical = max(median(self._seconds), 1e-5)
        if typical > self.short_seconds:
            return 1
        wanted = min(int(self.target_seconds / typical), self.row_bytes // self._row_bytes)
        # The last packs are small, so that all workers end together.
        return max(1, min(wanted, self.most, left // (4 * self._workers)))
