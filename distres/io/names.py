"""Names of outputs, made from names of inputs."""

from pathlib import Path

_SUFFIXES = (".gz", ".bz2", ".mrc", ".mrcs", ".map", ".ccp4", ".rec", ".zarr", ".ome")


def stem_of(path: str | Path) -> str:
    """Return the name of a volume without folders and without the endings of its format.

    >>> stem_of("/data/emd_11007_half_map_1.map.gz")
    'emd_11007_half_map_1'
    """
    name = str(path).rstrip("/").rsplit("/", 1)[-1]
    while (suffix := Path(name).suffix.lower()) in _SUFFIXES:
        name = name[: -len(suffix)]
    return name or "volume"
