"""Watches a cluster from the driver, so that a run heals or ends with a reason: never hangs."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.pools import SCHEDULER_GONE, DaskPool, Finished, Pool
from distres.errors import ClusterError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
# Dask itself brings a worker back in this time; later it may have forgotten it.
MISSING_SECONDS = 20.0
HEALS = 5


class Watchdog:
    """Looks at the cluster of one executor now and then while a job runs on it."""

    def __init__(
        self, executor: Executor, job: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._executor = executor
        self._job = job
        self._clock = clock
        now = clock()
        self._looked_at = self._progress_at = now
        self._since: dict[str, float] = {}
        self._heals = 0

    def progressed(self) -> None:
        """Hear that a tile came back."""
        self._progress_at = self._clock()
        self._heals = 0

    def look(self, pool: Pool) -> list[Finished]:
        """Look at the cluster, at most every few seconds; return packs that it has lost.

        Raises
        ------
        ClusterError
            The cluster cannot be brought back.
        """
        if not isinstance(pool, DaskPool) or self._clock() - self._looked_at < LOOK_SECONDS:
            return []
        self._looked_at = self._clock()
        if not self._connected():
            return []
        workers = self._workers()
        if workers is None:
            return []
        self._check_count(workers)
        self._check_paused(workers)
        self._check_resources(workers)
        self._check_stall(workers)
        return pool.reclaim_lost()

    def _lasting(self, condition: str, holds: bool) -> float:
        """Return for how long a condition has held."""
        if not holds:
            self._since.pop(condition, None)
            return 0.0
        return self._clock() - self._since.setdefault(condition, self._clock())

    def _connected(self) -> bool:
        away = self._executor.client.status != "running"
        if self._lasting("away", away) > self._executor.patience_seconds / 2 or (
            self._executor.client.status == "closed"
        ):
            raise ClusterError(f"{self._job}: {SCHEDULER_GONE}")
        return not away

    def _workers(self) -> Mapping[str, Any] | None:
        try:
            info = self._executor.client.scheduler_info(n_workers=-1)
        except (OSError, TimeoutError, ValueError) as error:
            # The next look finds the client disconnected, if that is what it was.
            logger.debug("the scheduler did not answer: %s", error)
            return None
        workers: Mapping[str, Any] = info["workers"]
        return workers

    def _check_count(self, workers: Mapping[str, Any]) -> None:
        executor = self._executor
        # Jobs in a batch queue are on their way, for hours if need be.
        coming = getattr(executor.cluster, "coming", 0)
        missing = self._lasting(
            "missing", executor.cluster is not None and len(workers) + coming < executor.workers
        )
        if missing > MISSING_SECONDS and executor.cluster is not None:
            self._heal(f"{len(workers)} of {executor.workers} workers are left")
            del self._since["missing"]
            executor.cluster.scale(executor.workers)
        if self._lasting("empty", not workers and not coming) > executor.patience_seconds:
            raise ClusterError(
                f"{self._job}: all workers are gone for {executor.patience_seconds:g} s; finished "
                "tiles are kept, go on with --resume; if they ran out of memory, use more "
                "(--memory) or a smaller tile (--tile)"
            )

    def _check_paused(self, workers: Mapping[str, Any]) -> None:
        paused = bool(workers) and all(w.get("status") == "paused" for w in workers.values())
        if self._lasting("paused", paused) > self._executor.patience_seconds / 2:
            self._heal("all workers are paused: their memory is nearly full")
            del self._since["paused"]
            self._executor.client.restart_workers(list(workers))

    def _check_resources(self, workers: Mapping[str, Any]) -> None:
        for name, amount in (self._executor.resources or {}).items():
            absent = not any(
                w.get("resources", {}).get(name, 0) >= amount for w in workers.values()
            )
            if self._lasting(f"resource {name}", absent) > self._executor.patience_seconds:
                raise ClusterError(
                    f"{self._job}: every tile needs {amount:g} {name}, but none of the "
                    f"{len(workers)} workers offers it; start workers with --resources "
                    f"{name}={amount:g} or change the profile"
                )

    def _check_stall(self, workers: Mapping[str, Any]) -> None:
        quiet = self._clock() - self._progress_at
        if workers and quiet > self._executor.stall_seconds:
            raise ClusterError(
                f"{self._job}: no tile has finished for {quiet:.0f} s on {len(workers)} workers; "
                "finished tiles are kept, go on with --resume, with smaller tiles (--tile) or a "
                "larger stall_seconds in the cluster profile if a tile needs that long"
            )

    def _heal(self, what: str) -> None:
        self._heals += 1
        if self._heals > HEALS:
            raise ClusterError(
                f"{self._job}: {what}, and {HEALS} attempts to start them again brought no "
                "finished tile; finished tiles are kept, go on with --resume, with more memory "
                "(--memory) or a smaller tile (--tile)"
            )
        logger.warning("%s: %s; starting them again (attempt %d)", self._job, what, self._heals)
