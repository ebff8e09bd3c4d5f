"""What a computing centre sets up once: profiles by name, and the environment of its workers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distres.engine.profiles import Profile, read_profile
from distres.errors import UsageError

SUFFIXES = (".toml", ".yaml", ".yml", ".json")


def site_folders() -> list[Path]:
    """Return the folders where a profile may lie that is named by its kind alone."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folders = [configuration / "distres", Path("/etc/distres")]
    named = os.environ.get("DISTRES_PROFILES")
    return [Path(named), *folders] if named else folders


def complete_profile(profile: Profile) -> Profile:
    """Fill a bare profile (``--cluster slurm``) from the user's or the site's file of that name.

    Raises
    ------
    UsageError
        There is no such file, or it is of another kind.
    """
    if profile.settings:
        return profile
    folders = site_folders()
    for folder in folders:
        for suffix in SUFFIXES:
            file = folder / (profile.kind + suffix)
            if file.is_file():
                return _take(file, profile)
    places = ", ".join(str(folder / f"{profile.kind}.toml") for folder in folders)
    raise UsageError(
        f"--cluster {profile.kind} needs a profile that says how; name its file, or put it at one "
        f"of {places} (examples come with distres in deploy/{profile.kind})"
    )


def _take(file: Path, profile: Profile) -> Profile:
    found = read_profile(str(file))
    if found.kind != profile.kind:
        raise UsageError(f"{file} must be of kind '{profile.kind}', not '{found.kind}'")
    return found.with_sizes(workers=profile.workers, memory_bytes=profile.memory_bytes)


def worker_environment() -> dict[str, str]:
    """Return environment variables that give workers elsewhere the settings of local ones."""
    from distres.engine.local import SETTINGS

    found = {
        "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
        for name, value in SETTINGS.items()
        if not name.startswith("distributed.scheduler")
    }
    return {**found, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def describe_workers(client: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield a line for each worker that is connected."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    for worker in sorted(workers, key=lambda entry: str(entry["name"])):
        yield (
            f"worker {worker['name']}: host {worker['host']}, {worker['nthreads']} thread, memory "
            f"{worker['memory_limit'] / 1e9:.1f} GB, resources {worker['resources'] or 'none'}"
        )
