"""Which network a DeepRes run uses: a shipped one chosen by voxel size and range, or the user's."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from distres.errors import InputError, UsageError
from distres.io.deepres_weights import load_model, load_weights
from distres.io.grid import Grid
from distres.io.keras import read_original_weights
from distres.kernels.deepres import DeepResNetwork
from distres.kernels.deepres_original import OriginalNetwork
from distres.kernels.predict import WindowNetwork, Workload

MODELS = ("auto", "A", "B")
# Voxels that hold what model B sees and model A does not.
FINE_VOXEL_ANGSTROM = 0.75
# What the released program does with its two networks: voxel edge, and where answers are cut off.
_PUBLISHED: dict[str, tuple[float, tuple[float, float]]] = {
    "A": (1.0, (2.5, 12.9)),
    "B": (0.5, (1.5, 5.9)),
}
_PUBLISHED_FILES = {"w13": "A", "w7": "B"}
_HDF5 = (".h5", ".hdf5", ".keras")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network and what it is for.

    Attributes
    ----------
    name
        ``A`` or ``B``, or the name of a file of weights.
    path
        File of weights; None for a shipped one.
    published
        Whether it is the paper's own network, which sees masked maps and knows no uncertainty.
    voxel_size_angstrom
        Grid it works on.
    range_angstrom
        Finest and coarsest resolution it tells.
    sha256
        Of the weights.
    workload
        What it costs.
    parameter_count
        How many weights.
    """

    name: str
    path: str | None
    published: bool
    voxel_size_angstrom: float
    range_angstrom: tuple[float, float]
    sha256: str
    workload: Workload
    parameter_count: int

    def as_json(self) -> dict[str, Any]:
        """Return what a tile needs to load it, and a record keeps."""
        return {
            "name": self.name,
            "path": self.path,
            "published": self.published,
            "voxel_size_angstrom": self.voxel_size_angstrom,
            "range_angstrom": list(self.range_angstrom),
            "sha256": self.sha256,
        }


def choose_name(grid: Grid, fine: float | None, coarse: float | None, requested: str) -> str:
    """Choose between models A and B.

    Parameters
    ----------
    grid
        Of the map: resolutions below two voxels are not in it.
    fine, coarse
        Range of resolutions that the user expects, in angstrom.
    requested
        ``A``, ``B``, or ``auto``: B where the range ends at its 6 angstrom or, without a range,
        where voxels of 0.75 angstrom or less can hold what A does not see; else A.

    Raises
    ------
    UsageError
        The name is unknown, or no model reaches the range.
    """
    if requested not in MODELS:
        raise UsageError(f"there is no model '{requested}'; use {', '.join(MODELS)}")
    if fine is not None and coarse is not None and not 0 < fine < coarse:
        raise UsageError(f"a range of resolutions goes from fine to coarse, not {fine} to {coarse}")
    if requested != "auto":
        return requested
    finest_a = _PUBLISHED["A"][1][0]
    if coarse is not None and fine is not None:
        if coarse > 13.0 or fine < 1.5:
            raise UsageError(
                f"no model tells resolutions from {fine:g} to {coarse:g} A: A tells 2.5 to 13 A, B "
                "1.5 to 6 A"
            )
        if fine < finest_a and coarse > 6.0:
            raise UsageError(
                f"no model tells resolutions from {fine:g} to {coarse:g} A: run B (1.5 to 6 A) and "
                "A (2.5 to 13 A) one after the other, with --model"
            )
        return "B" if fine < finest_a else "A"
    return "B" if max(grid.voxel_size_angstrom) <= FINE_VOXEL_ANGSTROM else "A"


def find_model(name: str, weights: str | Path | None, *, named: bool = False) -> Model:
    """Load a network once, to know what it is.

    Parameters
    ----------
    name
        ``A`` or ``B``.
    weights
        File of weights that replaces the shipped one: ``.safetensors``, or ``.h5`` of the paper's
        network.
    named
        Whether the user chose the name; else ``w13`` or ``w7`` in the name of an ``.h5`` file says
        which of the two it is.

    Raises
    ------
    InputError
        The weights cannot be read.
    """
    path = None if weights is None else Path(weights)
    if path is not None and not path.is_file():
        raise InputError(f"the weights {path} do not exist")
    if path is not None and path.suffix.lower() in _HDF5:
        found = [model for part, model in _PUBLISHED_FILES.items() if part in path.stem]
        if not named and len(found) != 1:
            raise InputError(
                f"the name of {path} does not say which network it is (w13 or w7); give --model A "
                "(1.0 A voxels) or --model B (0.5 A)"
            )
        original = read_original_weights(path)
        network: torch.nn.Module = OriginalNetwork(original)
        voxel, reach = _PUBLISHED[name if named else found[0]]
        workload = original.workload
    else:
        ours = load_model(name) if path is None else load_weights(path)
        network, workload = ours, Workload.of(ours.config)
        voxel, reach = ours.config.voxel_size_angstrom, ours.config.range_angstrom
    return Model(
        name=name if path is None else path.name,
        path=None if path is None else str(path.resolve()),
        published=isinstance(network, OriginalNetwork),
        voxel_size_angstrom=voxel,
        range_angstrom=reach,
        sha256=_digest(network),
        workload=workload,
        parameter_count=sum(tensor.numel() for tensor in network.state_dict().values()),
    )


@lru_cache(maxsize=2)
def load_network(
    name: str, path: str | None, published: bool, device: str
) -> tuple[WindowNetwork, Workload]:
    """Load a network in a worker, once a process."""
    if published:
        weights = read_original_weights(path or name)
        return OriginalNetwork(weights).eval().to(device), weights.workload
    network: DeepResNetwork = load_model(name) if path is None else load_weights(Path(path))
    return network.eval().to(device), Workload.of(network.config)


def _digest(network: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()
