"""Shards that a machine left empty or torn when it lost its power: found, removed, made again."""

import os
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from distres.engine.jobs import TileJob
from distres.io.stores import StoreLike

# A shard ends in an index of 16 bytes a chunk and a checksum; what is shorter holds nothing, and
# Zarr reads it as fill value without a word.
SHORTEST_BYTES = 20


def hollow_tiles(store: StoreLike, job: TileJob) -> set[int]:
    """Return tiles with a file too short to be a shard; object stores never have one.

    Parameters
    ----------
    store
        Store of the run.
    job
        Its outputs are looked at.
    """
    if not isinstance(store, str):
        return set()
    found = set()
    for path, spec in job.outputs.items():
        root = Path(store) / path / "c"
        for folder, _, names in os.walk(root):
            for name in names:
                file = Path(folder) / name
                if name.isdigit() and file.stat().st_size < SHORTEST_BYTES:
                    place = [int(part) for part in file.relative_to(root).parts[len(spec.lead) :]]
                    found.add(int(np.ravel_multi_index(place, job.plan.counts)))
    return found


def remove_shards(array: "zarr.Array[Any]", region: tuple[slice, ...]) -> None:
    """Remove the shards of one tile, all axes before z, y, x included.

    Parameters
    ----------
    array
        An output.
    region
        The tile's (z, y, x) part of it.
    """
    edges = array.shards or array.chunks
    lead = [range(ceil(n / e)) for n, e in zip(array.shape[:-3], edges[:-3], strict=True)]
    own = [[part.start // edge] for part, edge in zip(region, edges[-3:], strict=True)]
    for place in product(*lead, *own):
        sync((array.store_path / array.metadata.encode_chunk_key(place)).delete())
