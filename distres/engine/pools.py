"""Where packs of tiles wait and finish: in this process, or with Dask's workers."""

import logging
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from distres.engine.process import settled_process
from distres.engine.tasks import Failure, Outcome, TileTask, compute_pack, compute_tile
from distres.errors import ClusterError

logger = logging.getLogger(__name__)

Pack = tuple[int, ...]

# Packs handed out at the least: enough that workers never wait, and that clusters which grow with
# their backlog do grow.
WINDOW = 64
SCHEDULER_GONE = (
    "the scheduler is gone; finished tiles are kept, go on with --resume once a scheduler runs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A pack that came back: with the outcomes of its tiles, or lost with the reason.

    Attributes
    ----------
    lost
        Why nothing came back; None when outcomes did.
    blamed
        The pack itself may have killed its worker, so it is not tried for ever.
    """

    pack: Pack
    outcomes: list[Outcome] = field(default_factory=list)
    lost: Failure | None = None
    blamed: bool = True


class Pool(Protocol):
    """A place that computes packs of tiles, in any order."""

    window: int
    workers: int

    def submit(self, pack: Pack) -> None:
        """Hand over a pack."""
        ...

    def wait(self, seconds: float) -> list[Finished]:
        """Return what has finished, waiting up to `seconds` for the first."""
        ...

    @property
    def pending(self) -> int:
        """Packs handed over and not returned."""
        ...

    def withdraw(self) -> None:
        """Take back what no worker has begun."""
        ...

    def close(self) -> None:
        """Forget what is pending."""
        ...


class LocalPool:
    """Computes in this process, one tile at a time, when waited for."""

    window = 1
    workers = 1

    def __init__(self, task: TileTask) -> None:
        self._task = task
        self._packs: deque[Pack] = deque()

    def submit(self, pack: Pack) -> None:
        """Hand over a pack."""
        self._packs.append(pack)

    def wait(self, seconds: float) -> list[Finished]:
        """Compute the next pack."""
        if not self._packs:
            return []
        pack = self._packs.popleft()
        with settled_process():
            return [Finished(pack=pack, outcomes=[compute_tile(self._task, i) for i in pack])]

    @property
    def pending(self) -> int:
        """Packs handed over and not returned."""
        return len(self._packs)

    def withdraw(self) -> None:
        """Take back what has not begun."""
        self._packs.clear()

    def close(self) -> None:
        """Forget what is pending."""
        self._packs.clear()


class DaskPool:
    """Computes on the workers of a Dask client, a bounded number of packs at a time."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401
        task: TileTask,
        *,
        name: str,
        workers: int,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        from distributed import as_completed

        self.workers = workers
        self.window = max(WINDOW, 2 * workers)
        self._name = name
        self._client = client
        self._data = task.packed()
        # One key family a job: Dask then queues tasks on the scheduler, not on workers.
        self._token = f"{name}-{uuid.uuid4().hex[:8]}"
        self._resources = dict(resources) if resources else None
        self._count = 0
        self._futures: dict[Any, tuple[Any, Pack]] = {}
        self._completed = as_completed([], loop=client.loop, with_results=True, raise_errors=False)

    def submit(self, pack: Pack) -> None:
        """Hand over a pack.

        Raises
        ------
        ClusterError
            The client has given up its scheduler.
        """
        from distributed.client import ClosedClientError

        key = (self._token, self._count)
        self._count += 1
        try:
            future = self._client.submit(
                compute_pack, self._data, pack, key=key, pure=False, resources=self._resources
            )
        except ClosedClientError as error:
            raise ClusterError(f"{self._name}: {SCHEDULER_GONE}") from error
        self._futures[key] = (future, pack)
        self._completed.add(future)

    def wait(self, seconds: float) -> list[Finished]:
        """Return what has finished, waiting up to `seconds` for the first."""
        condition = self._completed.thread_condition
        with condition:
            condition.wait_for(self._completed.has_ready, timeout=seconds)
        finished = []
        for future, result in self._completed.next_batch(block=False):
            entry = self._futures.pop(future.key, None)
            if entry is not None:
                finished.append(_finish(entry[1], future.status, result))
        return finished

    @property
    def pending(self) -> int:
        """Packs handed over and not returned."""
        return len(self._futures)

    def reclaim_lost(self) -> list[Finished]:
        """Take back packs whose futures a broken connection has orphaned."""
        lost = [
            (key, pack)
            for key, (future, pack) in self._futures.items()
            if future.status in ("lost", "cancelled")
        ]
        for key, _ in lost:
            del self._futures[key]
        reason = Failure(cause="the connection to the scheduler was lost")
        return [Finished(pack=pack, lost=reason, blamed=False) for _, pack in lost]

    def withdraw(self) -> None:
        """Cancel what no worker has begun."""
        begun = {key for keys in self._client.processing().values() for key in keys}
        idle = [future for key, (future, _) in self._futures.items() if key not in begun]
        for future in idle:
            del self._futures[future.key]
        if idle:
            self._client.cancel(idle, force=True)

    def close(self) -> None:
        """Cancel what is pending; a client that is gone has nothing to cancel."""
        futures = [future for future, _ in self._futures.values()]
        self._futures.clear()
        self._completed.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)


def _finish(pack: Pack, status: str, result: object) -> Finished:
    if status == "finished" and isinstance(result, list):
        return Finished(pack=pack, outcomes=result)
    error = result[1] if isinstance(result, tuple) else result
    if not isinstance(error, BaseException):
        error = RuntimeError(f"the task ended as {status}")
    if type(error).__name__ == "KilledWorker":
        reason = Failure(
            cause="its worker died each time it was tried; most often it needs more memory than "
            "a worker has (--memory) or a smaller tile (--tile)"
        )
        return Finished(pack=pack, lost=reason)
    return Finished(pack=pack, lost=Failure.of(error), blamed=status == "error")
