"""Arrays of a run in an object store; ledger, lock and record stay in the run directory.

A ledger is appended to line by line and synced, and a lock is a file that one process makes: object
stores have neither. The address and a token are kept in ``store.json``; the same token beside the
arrays says whose they are.
"""

import json
import uuid
from pathlib import Path

from distres.engine.files import write_durably
from distres.errors import OutputExistsError, ResumeError, UsageError
from distres.io.stores import StoreLike, as_store, claim, is_object_address, remove_all

NAME = "run.zarr"
BINDING = "store.json"


def store_of(directory: Path) -> StoreLike:
    """Return the store that holds a run's arrays: a folder in it, or what ``store.json`` names."""
    bound = _read(directory)
    return str(directory / NAME) if bound is None else as_store(bound["address"])


def place_of(directory: Path) -> str | None:
    """Return what `bind` was told, None when the arrays lie in the directory."""
    bound = _read(directory)
    return None if bound is None else bound["address"].removesuffix(f"/{NAME}")


def bind(directory: Path, place: str | None) -> None:
    """Make sure that the arrays of a run lie at a place, or where they have lain.

    Parameters
    ----------
    place
        ``s3://bucket/prefix``; None keeps what was chosen when the run began.

    Raises
    ------
    ResumeError
        The run's arrays lie at another place.
    OutputExistsError
        The arrays there are of another run.
    UsageError
        It is no address of an object store.
    """
    address = None if place is None else _address(place)
    bound = _read(directory)
    if bound is None:
        if address is None:
            return
        if (directory / "ledger").exists():
            raise ResumeError(
                f"{directory} holds a run with its arrays inside it, not in {address}; leave out "
                "--store, or use --overwrite or another --output"
            )
        bound = {"address": address, "token": uuid.uuid4().hex}
        write_durably(directory / BINDING, (json.dumps(bound) + "\n").encode())
    elif address not in (None, bound["address"]):
        raise ResumeError(
            f"the arrays of {directory} lie in {bound['address']}, not in {address}; leave out "
            "--store, or use --overwrite or another --output"
        )
    if claim(bound["address"], bound["token"]) != bound["token"]:
        (directory / BINDING).unlink()
        raise OutputExistsError(
            f"{bound['address']} holds the arrays of another run; choose another --store, or "
            "remove them if that run is gone"
        )


def remove(directory: Path) -> None:
    """Remove the arrays that a run keeps elsewhere, if they are its own."""
    bound = _read(directory)
    if bound is None:
        return
    if claim(bound["address"], bound["token"]) == bound["token"]:
        remove_all(bound["address"])
    (directory / BINDING).unlink()


def _address(place: str) -> str:
    if not is_object_address(place):
        raise UsageError(
            f"--store {place} is no address of an object store; write s3://bucket/place, or leave "
            "it out to keep the arrays in the run directory"
        )
    return f"{place.rstrip('/')}/{NAME}"


def _read(directory: Path) -> dict[str, str] | None:
    path = directory / BINDING
    try:
        bound = json.loads(path.read_bytes())
        return {"address": str(bound["address"]), "token": str(bound["token"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f"{path} is damaged ({error!r}); use --overwrite or another --output"
        ) from error
