"""Converting a large MRC file to OME-Zarr in one process: processor time and peak memory.

Usage: python benchmarks/convert.py [--edge 1280] [--folder DIR] [options of distres convert]

The file is sparse, all voxels 0, so that reading costs little and no disk fills; what is measured
is what the size costs.
"""

import argparse
import tempfile
from pathlib import Path

import mrcfile
from common import distres, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=1280)
    parser.add_argument("--folder", type=Path, help="where file and image lie while it runs")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        source = Path(place) / "sparse.mrc"
        with mrcfile.new_mmap(source, shape=(options.edge,) * 3, mrc_mode=2) as file:
            file.voxel_size = 1.5
        target = Path(place) / "sparse.zarr"
        cost = measure([*distres("convert", source, target, "--cluster", "none"), *more])
        print(
            f"{options.edge}^3 voxels, {source.stat().st_size / 1e9:.1f} GB: "
            f"{cost.peak_bytes / 1e6:.0f} MB at the most, {cost.cpu_seconds:.0f} s of CPU time, "
            f"levels {', '.join(sorted(p.name for p in target.iterdir() if p.is_dir()))}"
        )


if __name__ == "__main__":
    main()
