"""What DeepRes costs: multiply-adds and processor time a voxel, beside the paper's network.

Usage: python benchmarks/deepres_cost.py [--weights FILE] [--edge 96] [--windows 24]
           [--map MAP --mask MASK]

One thread, float32, voxels of the network's grid:

1. the dense pass of a model over a block of `--edge` voxels an edge, and as windows alone;
2. the paper's network (Ramirez-Aportela et al. 2019; random weights: time does not depend on
   them) on single windows, as it has to run;
3. with --map: the whole command on a real map, and the difference that bfloat16 makes to it.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import distres, measure, table, unit_seconds

from distres.io.deepres_weights import load_model, load_weights
from distres.kernels.deepres import WINDOW_VOX
from distres.kernels.deepres_original import OriginalNetwork, OriginalWeights
from distres.kernels.predict import Workload, predict_nodes
from distres.methods.dataset import open_run


def cpu_seconds(call, rounds=3):
    """Return the least processor time of some calls, and what the last one gave."""
    least = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        found = call()
        least = min(least, time.process_time() - started)
    return least, found


def paper_network():
    rng = np.random.default_rng(0)
    shapes = {
        "kernel": (13, 13, 13, 1, 32),
        "bias": (32,),
        "dense_kernel": (13**3 * 32, 512),
        "dense_bias": (512,),
        "last_kernel": (512, 1),
        "last_bias": (1,),
    }
    weights = {
        name: (0.01 * rng.standard_normal(shape, dtype=np.float32))
        for name, shape in shapes.items()
    }
    found = OriginalWeights(**weights)
    return OriginalNetwork(found).eval(), found.workload


def density(edge, seed=0):
    """White noise under a low-pass at 4 voxels: dense work does not depend on it."""
    values = np.random.default_rng(seed).standard_normal((edge,) * 3)
    f = np.meshgrid(*(np.fft.fftfreq(edge),) * 3, indexing="ij")
    kept = np.fft.fftn(values) * (sum(a**2 for a in f) < 0.25**2)
    return torch.from_numpy(np.fft.ifftn(kept).real.astype(np.float32))


def network_costs(network, edge, count):
    """Return name, multiply-adds and CPU seconds a voxel of three ways to the same kind of map."""
    workload = Workload.of(network.config)
    block = density(edge)
    whole = np.ones((edge - WINDOW_VOX + 1,) * 3, bool)
    dense, _ = cpu_seconds(lambda: predict_nodes(network, block, whole, workload=workload))
    lone = Workload(
        window_operations=1, dense_operations=1, bytes_per_voxel=workload.bytes_per_voxel
    )
    few = np.zeros_like(whole)
    few[:10, :10, :10] = True
    single, _ = cpu_seconds(lambda: predict_nodes(network, block, few, workload=lone))
    paper, theirs = paper_network()
    windows = block.unfold(0, 13, 13).unfold(1, 13, 13).unfold(2, 13, 13).reshape(-1, 1, 13, 13, 13)
    batch = windows[:count].contiguous()
    with torch.inference_mode():
        slow, _ = cpu_seconds(lambda: paper(batch))
    return [
        ("dense pass", workload.dense_operations, dense / whole.sum()),
        ("its windows alone", workload.window_operations, single / few.sum()),
        ("the paper's network", theirs.window_operations, slow / len(batch)),
    ]


def whole_command(chosen, place, precision):
    """Run the command on the real map; return what it cost and its resolutions."""
    run = Path(place) / precision
    command = [
        *("deepres", chosen.map, "-o", run, "--cluster", "none", "--precision", precision),
        *("--no-pictures", "--device", "cpu", "--model", chosen.model),
        *(("-m", chosen.mask) if chosen.mask else ()),
        *(("--weights", chosen.weights) if chosen.weights else ()),
    ]
    return measure(distres(*command)), open_run(run, load=True).locres.values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="A")
    parser.add_argument("--edge", type=int, default=96)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--map", type=Path)
    parser.add_argument("--mask", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    unit = unit_seconds()
    network = load_weights(chosen.weights) if chosen.weights else load_model(chosen.model)
    rows = network_costs(network, chosen.edge, chosen.windows)
    least = rows[0][2]
    print(
        table(
            [
                (
                    name,
                    f"{operations:,.0f}",
                    f"{1e6 * each:,.0f}",
                    f"{1e6 * each / unit:,.0f}",
                    f"{each / least:,.0f}",
                )
                for name, operations, each in rows
            ],
            ("", "multiply-adds a voxel", "CPU s per 10^6 voxels", "u per 10^6", "time ratio"),
        )
    )
    operations = rows[2][1] / rows[0][1]
    print(
        f"\n{operations:,.0f} times fewer operations than the paper's network; 1 u = {unit:.2f} s"
    )
    if chosen.map:
        with TemporaryDirectory() as place:
            cost, exact = whole_command(chosen, place, "fp32")
            _, short = whole_command(chosen, place, "bf16")
        known = np.isfinite(exact)
        print(
            f"{chosen.map.name}: {known.sum()} voxels, {cost.cpu_seconds:.1f} CPU s, "
            f"{cost.peak_bytes / 1e9:.2f} GB"
        )
        off = 100 * np.abs(short[known] / exact[known] - 1)
        print(
            f"bfloat16 instead of float32: answers differ by {off.mean():.2f} % on average, "
            f"{np.quantile(off, 0.99):.2f} % at the 99th percentile, {off.max():.1f} % at most"
        )


if __name__ == "__main__":
    main()
