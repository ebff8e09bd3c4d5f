"""What decides the result of a job, as JSON, and how two such descriptions differ."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from distres import __version__
from distres.engine.jobs import TileJob
from distres.errors import UsageError

# Arrays up to this many values are kept readable, larger ones as a hash.
READABLE = 64


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it knows."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size <= READABLE:
            return value.tolist()
        text = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": text}
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise UsageError(f"a job parameter of type {type(value).__name__} cannot be kept as JSON")


def canonical(value: object) -> Any:  # noqa: ANN401
    """Return `value` as it comes back from JSON."""
    return json.loads(json.dumps(value, default=_plain, sort_keys=True))


def digest(value: object) -> str:
    """Return a hash of a description."""
    text = json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def describe_job(job: TileJob) -> dict[str, Any]:
    """Return everything that decides what the job's tiles contain."""
    tiles = np.asarray(job.todo if job.tiles is not None else (), dtype=np.int64)
    description = {
        "inputs": {name: source.identity() for name, source in job.inputs.items()},
        "parameters": dict(job.parameters),
        "plan": {"shape": job.plan.shape, "core": job.plan.core, "halo": job.plan.halo}
        | _window(job),
        "outputs": {path: asdict(spec) for path, spec in job.outputs.items()},
        "tiles": "all"
        if job.tiles is None
        else {"count": len(tiles), "sha256": hashlib.sha256(tiles.tobytes()).hexdigest()},
        "function": f"{job.function.__module__}.{job.function.__qualname__}",
        "function version": job.version,
        "package version": __version__,
    }
    result: dict[str, Any] = canonical(description)
    return result


def _window(job: TileJob) -> dict[str, Any]:
    if job.plan.window is None:
        return {}
    return {"window": [[part.start, part.stop] for part in job.plan.window]}


def _flat(value: object, name: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    flat: dict[str, object] = {}
    for key, entry in value.items():
        flat |= _flat(entry, f"{name}.{key}" if name else str(key))
    return flat


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Say in words where two descriptions differ, one phrase a place."""
    old, new = _flat(stored), _flat(given)
    phrases = []
    for name in dict.fromkeys([*new, *old]):
        if name not in new:
            phrases.append(f"{name} was {_short(old[name])} and is absent now")
        elif name not in old:
            phrases.append(f"{name} was absent and is {_short(new[name])} now")
        elif _short(old[name]) != _short(new[name]):
            phrases.append(f"{name} was {_short(old[name])} and is {_short(new[name])} now")
    return phrases


def _short(value: object) -> str:
    # As text, so that NaN equals NaN.
    return json.dumps(value)
