"""A client to be killed: runs one job in the folder it is given.

Usage: driver.py FOLDER RUN SPEC TILE_SECONDS [EDGE]

While FOLDER/hold exists no tile ends.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import zarr

from distres.engine.cluster import open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tiles import TilePlan
from distres.errors import DistresError

SHAPE = (36, 36, 36)


def work(inputs, parameters):
    """Scale a core, take some time, and note the call in a folder."""
    index = inputs.tile.index
    Path(parameters["calls"]).with_name("begun").touch()
    time.sleep(parameters["seconds"] * (1 + (index * 7) % 5) / 3)
    while Path(parameters["calls"]).with_name("hold").exists():
        time.sleep(0.05)
    core = inputs.core("map") * np.float32(1.1)
    Path(parameters["calls"], f"{index}-{os.getpid()}-{time.time_ns()}").touch()
    return TileResult(arrays={"out": core}, row={"sum": float(core.sum()), "n": core.size})


def make_job(folder, seconds, edge=6):
    """Return the job, and make its input if it is not there."""
    store = str(folder / "in.zarr")
    if not (folder / "in.zarr").exists():
        values = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
        zarr.create_array(store, name="map", data=values, chunks=(18, 18, 18))
    (folder / "calls").mkdir(exist_ok=True)
    return TileJob(
        name="scale",
        plan=TilePlan(shape=SHAPE, core=(edge,) * 3, halo=(0, 0, 0)),
        function=work,
        inputs={"map": ZarrSource.of(store, "map")},
        outputs={"out": OutputSpec()},
        parameters={"seconds": seconds, "calls": str(folder / "calls")},
    )


def main(folder, run, spec, seconds, edge="6"):
    """Run or resume the job, and end as the command line would."""
    job = make_job(Path(folder), float(seconds), int(edge))
    try:
        with (
            open_executor(spec, workers=2, memory_bytes=10**9) as executor,
            Run.open(Path(run), resume=True) as opened,
        ):
            print("ready", flush=True)
            table = run_job(job, run=opened, executor=executor)
            print(f"computed {table.stats.computed} sum {float(table.sum('sum')).hex()}")
    except DistresError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
