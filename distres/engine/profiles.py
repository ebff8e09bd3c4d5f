"""Profile files: a place to compute, described once (TOML, JSON or YAML)."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distres.errors import InputError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile file says.

    Attributes
    ----------
    kind
        Which factory opens it.
    workers, memory_bytes
        Numbers every kind knows; None leaves them to the kind.
    settings
        What only this kind knows.
    """

    kind: str
    workers: int | None = None
    memory_bytes: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_sizes(self, *, workers: int | None, memory_bytes: int | None) -> "Profile":
        """Return the profile with what the user gave beside it."""
        return replace(
            self,
            workers=self.workers if workers is None else workers,
            memory_bytes=self.memory_bytes if memory_bytes is None else memory_bytes,
        )

    def allow(self, *names: str) -> None:
        """Refuse settings that the kind does not know.

        Raises
        ------
        UsageError
            Naming the setting and those that are known.
        """
        for name in self.settings:
            if name not in names:
                known = ", ".join(["kind", "workers", "memory", *names])
                raise UsageError(
                    f"a cluster profile of kind '{self.kind}' does not know '{name}'; it knows "
                    f"{known}"
                )

    def text(self, name: str) -> str | None:
        """Return a setting that is text."""
        value = self.settings.get(name)
        if value is not None and not isinstance(value, str):
            raise UsageError(f"the cluster profile's '{name}' must be text, not {value!r}")
        return value

    def numbers(self, *names: str) -> dict[str, float]:
        """Return those settings that are there, which must be positive numbers."""
        found = {name: self.settings[name] for name in names if name in self.settings}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise UsageError(f"the cluster profile's '{name}' must be above 0, not {value!r}")
        return {name: float(value) for name, value in found.items()}

    def whole(self, name: str, default: int) -> int:
        """Return a setting that is a whole number of `default` or more; `default` without it."""
        value = self.settings.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < default:
            raise UsageError(
                f"the cluster profile's '{name}' must be a whole number of {default} or more, "
                f"not {value!r}"
            )
        return value

    def switch(self, name: str) -> bool:
        """Return a setting that is true or false; true without it."""
        value = self.settings.get(name, True)
        if not isinstance(value, bool):
            raise UsageError(f"the cluster profile's '{name}' must be true or false, not {value!r}")
        return value

    def lines(self, name: str) -> list[str]:
        """Return a setting that is a list of texts; none without it."""
        value = self.settings.get(name, [])
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise UsageError(
                f"the cluster profile's '{name}' must be a list of texts, not {value!r}"
            )
        return value


def read_profile(spec: str) -> Profile:
    """Read a profile file.

    Raises
    ------
    UsageError
        There is no such file, or it holds something that is no profile.
    InputError
        It cannot be parsed.
    """
    path = Path(spec)
    if not path.is_file():
        raise UsageError(
            f"cluster '{spec}' is neither none, local, an address like tcp://host:8786, nor a "
            "profile file that exists"
        )
    table = _parse(path)
    kind = table.pop("kind", None)
    if not isinstance(kind, str):
        raise UsageError(f'{path} needs a line like kind = "local"')
    workers = table.pop("workers", None)
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise UsageError(f"{path}: workers must be a whole number of 1 or more, not {workers!r}")
    return Profile(
        kind=kind, workers=workers, memory_bytes=_memory(table.pop("memory", None)), settings=table
    )


def _parse(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text()
        match path.suffix.lower():
            case ".json":
                table = json.loads(text)
            case ".yaml" | ".yml":
                table = yaml.safe_load(text)
            case _:
                table = tomllib.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"the cluster profile {path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise InputError(f"the cluster profile {path} must hold names and values")
    return table


def _memory(value: str | float | None) -> int | None:
    from dask.utils import parse_bytes

    if value is None:
        return None
    try:
        amount = int(parse_bytes(value))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f'memory = {value!r} in a cluster profile is no amount; write for instance "4GB"'
        ) from error
    if amount <= 0:
        raise UsageError(f"memory = {value!r} in a cluster profile must be above 0")
    return amount
