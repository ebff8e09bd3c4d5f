"""Worker processes on this machine."""

import importlib.util
import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Client, LocalCluster, WorkerPlugin

logger = logging.getLogger(__name__)

SETTINGS = {
    # Tiles hold no data between tasks: nothing to spill, and a worker that is nearly full should
    # end its tile before it takes another.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": 0.85,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    # Dask blames all that a dead worker held; the driver then tries a tile alone, as often again.
    "distributed.scheduler.allowed-failures": 2,
    "distributed.comm.timeouts.connect": "30s",
}


class QuietWorker(WorkerPlugin):
    """A worker, also one that was started again, leaves Ctrl-C to the driver."""

    name = "distres-quiet"

    def setup(self, worker: object) -> None:
        """Run in each worker as it starts."""
        # Ctrl-C reaches every process of the terminal; workers end when the driver lets them go.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def open_local(
    *,
    workers: int,
    memory_bytes: int,
    dashboard: bool = True,
    temporary_directory: str | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Start worker processes of one thread each; yield (client, cluster).

    Parameters
    ----------
    memory_bytes
        A worker pauses at 85 % of it and is started again at 95 %.
    dashboard
        Serve Dask's dashboard, to this machine only, when bokeh is installed.
    temporary_directory
        Parent of the workers' scratch folder.
    """
    scratch = tempfile.mkdtemp(prefix="distres-", dir=temporary_directory)
    show = dashboard and importlib.util.find_spec("bokeh") is not None
    try:
        with (
            dask.config.set(SETTINGS),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=memory_bytes,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0" if show else None,
                local_directory=scratch,
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster) as client,
        ):
            client.register_plugin(QuietWorker())
            yield client, cluster
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
