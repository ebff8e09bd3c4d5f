"""A scheduler that somebody else started: join it, and look at its workers."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distres import __version__
from distres.engine.profiles import Profile
from distres.engine.security import security_of
from distres.errors import ClusterError, UsageError
from distres.io.stores import StoreLike, address_of, has_node


@contextmanager
def join_scheduler(profile: Profile, *, patience_seconds: float) -> Iterator[Any]:
    """Connect to the scheduler of a profile and wait for its first worker.

    Raises
    ------
    ClusterError
        It cannot be reached, or no worker comes.
    """
    from distributed import Client

    address = profile.text("address")
    if not address:
        raise UsageError("a cluster profile of kind 'address' needs address = \"tcp://host:8786\"")
    security = security_of(profile)
    _require_listener(address)
    try:
        client = Client(address, security=security, timeout=20, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({error}); check the address and that it runs"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=patience_seconds)
        except TimeoutError as error:
            raise ClusterError(
                f"the scheduler at {address} has no workers after {patience_seconds:g} s; start "
                "some, or raise patience_seconds in the profile"
            ) from error
        yield client


def _require_listener(address: str) -> None:
    # Dask would try again for as long as its timeout; a port where nobody listens says so at once.
    place = urlsplit(address)
    if place.scheme not in ("tcp", "tls") or place.hostname is None or place.port is None:
        raise UsageError(f"'{address}' is no scheduler address; write for instance tcp://host:8786")
    try:
        socket.create_connection((place.hostname, place.port), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({error}); check the address and that it runs"
        ) from error


def measure_workers(client: Any) -> tuple[int, int | None]:  # noqa: ANN401
    """Return how many tiles run at once and what memory each may use."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    threads = sum(worker["nthreads"] for worker in workers)
    limits = [
        worker["memory_limit"] // worker["nthreads"] for worker in workers if worker["memory_limit"]
    ]
    return threads, min(limits, default=None)


def require_shared_store(client: Any, directory: Path, store: StoreLike) -> None:  # noqa: ANN401
    """Check that every worker has this version and sees where a run's arrays are written.

    Raises
    ------
    ClusterError
        Naming a worker that does not.
    """
    if not isinstance(store, str):
        _require_version(client)
        _require_object_store(client, address_of(store))
        return
    _require_shared_folder(client, directory)
    _require_version(client)


def _require_object_store(client: Any, address: str) -> None:  # noqa: ANN401
    for worker, answer in client.run(has_node, address, on_error="return").items():
        if answer is not True:
            said = f" ({answer})" if isinstance(answer, Exception) else ""
            raise ClusterError(
                f"worker {worker} does not see {address}{said}; workers need AWS_ENDPOINT_URL, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of their own"
            )


def _require_shared_folder(client: Any, folder: Path) -> None:  # noqa: ANN401
    token = folder / f".seen-{uuid.uuid4().hex}"
    token.touch()
    try:
        seen = client.run(os.path.exists, str(token), on_error="return")
    finally:
        token.unlink()
    for worker, answer in seen.items():
        if answer is not True:
            raise ClusterError(
                f"worker {worker} does not see {folder}; the run directory (--output) must lie on "
                "a disk that all workers share, or its arrays in an object store (--store)"
            )


def _require_version(client: Any) -> None:  # noqa: ANN401
    versions = client.run(_version, on_error="return")
    for worker, answer in versions.items():
        if answer != __version__:
            raise ClusterError(
                f"worker {worker} has distres {answer}, this is {__version__}; install the same "
                "version in the workers' environment"
            )


def _version() -> str:
    return __version__
