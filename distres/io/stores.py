"""Object stores: an ``s3://`` address as a Zarr store that tries again, and fails with a sentence.

Whatever is no ``s3://`` address is left to Zarr: folders, and other addresses through fsspec.
"""

import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from distres.errors import ClusterError, UsageError
from distres.io.damage import first_line

StoreLike = str | Store

SCHEME = "s3://"
NO_EXTRA = "addresses s3://... need obstore; install it with pip install 'distres[s3]'"
# Where a machine of a cloud is asked for keys when the environment has none.
METADATA_SERVICE = "169.254.169.254"
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true if it is public"
# An object store that is away is waited for: at most this long, or this many times.
RETRY_SECONDS = 120
RETRIES = 40
# Of one request with its answer: a shard of half a gigabyte over a slow line.
REQUEST_SECONDS = 300


class _Told(logging.Filter):
    """Drop what asyncio logs of requests that were under way when another had failed already."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, ClusterError) or type(error).__module__.startswith("obstore"))


logging.getLogger("asyncio").addFilter(_Told())


class AddressedStore(ObjectStore[Any]):
    """A store that travels to workers as its address; they use the keys of their own environment.

    Parameters
    ----------
    store
        What obstore opened.
    read_only
        Whether writes are refused.
    """

    @property
    def address(self) -> str:
        """``s3://bucket/prefix``."""
        bucket, prefix = self.store.config.get("bucket"), self.store.prefix
        return f"{SCHEME}{bucket}/{prefix or ''}".rstrip("/")

    def __str__(self) -> str:
        return self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, AddressedStore) and (value.address, value.read_only) == (
            self.address,
            self.read_only,
        )

    def __reduce__(self) -> tuple[Any, tuple[str, bool]]:
        return _opened, (self.address, self.read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, or a part of it; None when there is none."""
        with _plainly(self.address):
            return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        with _plainly(self.address):
            return await super().get_partial_values(prototype, key_ranges)

    async def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        with _plainly(self.address):
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object whole."""
        with _plainly(self.address):
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object, unless there is one."""
        with _plainly(self.address):
            await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        with _plainly(self.address):
            await super().delete(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """Name what lies directly below a prefix."""
        with _plainly(self.address):
            async for name in super().list_dir(prefix):
                yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """Name all objects below a prefix."""
        with _plainly(self.address):
            async for name in super().list_prefix(prefix):
                yield name


def is_object_address(address: str) -> bool:
    """Tell whether an address is one that this module opens."""
    return address.startswith(SCHEME)


def as_store(address: StoreLike) -> StoreLike:
    """Return what Zarr opens: a store for ``s3://`` addresses, anything else as it is.

    Raises
    ------
    ClusterError
        obstore is not installed.
    UsageError
        The address names no bucket.
    """
    if isinstance(address, str) and is_object_address(address):
        if not address.removeprefix(SCHEME).split("/")[0]:
            raise UsageError(f"'{address}' names no bucket; write s3://bucket/place")
        return _opened(address.rstrip("/"), False)
    return address


def address_of(store: StoreLike) -> str:
    """Return the address of a store that `as_store` gave."""
    return store.address if isinstance(store, AddressedStore) else str(store)


@lru_cache(maxsize=64)
def _opened(address: str, read_only: bool) -> AddressedStore:
    # One client an address and process: connections are kept.
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise ClusterError(NO_EXTRA) from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    with _plainly(address):
        store = S3Store.from_url(
            address,
            config={"region": region, **({"endpoint": endpoint} if endpoint else {})},
            client_options={
                # Only what the user's own endpoint says: never by a redirect.
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=10),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.2),
                    "max_backoff": timedelta(seconds=20),
                    "base": 2,
                },
            },
        )
    return AddressedStore(store, read_only=read_only)


@contextmanager
def _plainly(address: str) -> Iterator[None]:
    """Say in a sentence what an object store says in many lines."""
    import obstore.exceptions as refusals

    try:
        yield
    except refusals.AlreadyExistsError:
        raise
    except (refusals.PermissionDeniedError, refusals.UnauthenticatedError) as error:
        raise ClusterError(f"{address} refuses this process ({_said(error)}); {KEYS}") from error
    except refusals.BaseError as error:
        if METADATA_SERVICE in str(error):
            raise ClusterError(f"there are no keys for {address}; {KEYS}") from error
        raise ClusterError(
            f"{address} does not answer ({_said(error)}); check the bucket, AWS_ENDPOINT_URL and "
            "the network; what was finished is kept, go on with --resume"
        ) from error


def _said(error: BaseException) -> str:
    # The lines below are obstore's own debugging text.
    return first_line(error)[:300]


def claim(address: str, token: str) -> str:
    """Write the owner's token beside a store, unless one is there; return whose it is now.

    Both happen in one step of the object store, so of two that claim at once one wins.
    """
    import obstore

    store = _opened(address, False).store
    name = ".distres-run"
    with suppress(obstore.exceptions.AlreadyExistsError), _plainly(address):
        obstore.put(store, name, token.encode(), mode="create")
    with _plainly(address):
        return bytes(obstore.get(store, name).bytes()).decode(errors="replace")


def remove_all(address: str) -> None:
    """Remove every object below an address that `claim` has given to the caller."""
    import obstore

    store = _opened(address, False).store
    with _plainly(address):
        for batch in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in batch])


def is_vacant(address: str) -> bool:
    """Tell whether no object lies below an address."""
    import obstore

    store = _opened(address, False).store
    with _plainly(address):
        return not any(batch for batch in obstore.list(store))


def has_node(address: str) -> bool:
    """Tell whether an address holds a Zarr group or array."""
    try:
        zarr.open(as_store(address), mode="r")
    except (OSError, ValueError, KeyError):
        return False
    return True
