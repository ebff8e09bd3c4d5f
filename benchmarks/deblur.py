"""LocalDeblur: its cost against Xmipp's program, and what it gains over a global B-factor.

Usage:
    python benchmarks/deblur.py cost --oracle FOLDER
    python benchmarks/deblur.py compare STRUCTURE [--resolutions 3.2 4.2 6 9] [--noise 0.03]
    python benchmarks/deblur.py scale [--edge 1024] [--folder DIR] [options of distres deblur]

`cost` needs the folder with half1, half2, mask and monores_chimera (``.mrc.gz``). CPU time is given
in u, that of one float32 `scipy.fft.rfftn` of 256^3 on one thread; Xmipp takes 94 u for the same.

`compare` makes half maps of a structure whose chains end at different resolutions, measures the
local resolution with `localfsc`, sharpens, and compares each chain with the noise-free, unblurred
map: correlation in the chain's voxels, FSC (the frequency where it falls below 0.5), and the
distance of Guinier profiles (standard deviation of ln F over shells from 15 angstrom to the chain's
true resolution). Global B-factors are tried with several low-passes; of them all, the best for each
chain alone is shown as well as the best for their mean: no user can have the former.

`scale` sharpens a half map of the blob phantom by its true resolution map, and prints memory and
time.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mrcfile
import numpy as np
import scipy.fft
import torch
from common import distres, make_blob, measure
from scale import describe, say
from scipy import ndimage

from distres.kernels.guinier import bin_centres, fit_b_factor, radial_power
from distres.methods.deblur_plan import DeblurParameters
from distres.methods.deblur_run import deblur_map
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.options import RunOptions
from distres.methods.phantom_chains import ModelParameters
from distres.methods.phantom_model import make_model

XMIPP_U = 94.0


def unit_seconds():
    """Return u on this machine, now."""
    block = np.random.default_rng(0).random((256, 256, 256), np.float32)
    scipy.fft.rfftn(block)
    started = time.process_time()
    for _ in range(3):
        scipy.fft.rfftn(block)
    return (time.process_time() - started) / 3


def cost(folder):
    torch.set_num_threads(1)
    halves = [mrcfile.read(folder / f"half{i}.mrc.gz").astype(np.float32) for i in (1, 2)]
    observed = (halves[0] + halves[1]) / 2
    inside = mrcfile.read(folder / "mask.mrc.gz") > 0.5
    for name in ("xmipp", "paper", "blur"):
        with tempfile.TemporaryDirectory() as place:
            before = unit_seconds()
            started = time.process_time()
            run = deblur_map(
                observed,
                mrcfile.read(folder / "monores_chimera.mrc.gz").astype(np.float32),
                DeblurParameters(model=name, iterations=3, change=0.0),
                RunOptions(
                    output=Path(place) / "run",
                    mask=None if name == "xmipp" else str(folder / "mask.mrc.gz"),
                    pixel_size_angstrom=1.0,
                ),
            )
            seconds = time.process_time() - started
            unit = (before + unit_seconds()) / 2
            found = mrcfile.read(run.directory / run.record["outputs"]["sharpened"])[inside]
        text = f"{name}: 3 iterations, whole run {seconds:.1f} s = {seconds / unit:.0f} u"
        if name == "xmipp":
            expected = mrcfile.read(folder / "localdeblur.mrc.gz").astype(np.float32)[inside]
            r = np.corrcoef(found, expected)[0, 1]
            text += f" (Xmipp {XMIPP_U:g} u), correlation with its map {r:.8f}"
        print(text)


class Judge:
    """Compares maps with the unblurred, noise-free one, chain by chain."""

    def __init__(self, truth, labels, resolutions, voxel):
        self.truth, self.labels, self.resolutions, self.voxel = truth, labels, resolutions, voxel
        self.chains = range(1, len(resolutions) + 1)
        self.soft = [
            ndimage.gaussian_filter((labels == c).astype(np.float32), 1.5) for c in self.chains
        ]

    def correlations(self, found):
        """Return the correlation with the truth inside every chain."""
        return [
            np.corrcoef(found[self.labels == c], self.truth[self.labels == c])[0, 1]
            for c in self.chains
        ]

    def distances(self, found):
        """Return the spread of ln F(found) - ln F(truth) over shells, for every chain."""
        rows = []
        frequency = bin_centres(0.5 / self.voxel)
        for soft, resolution in zip(self.soft, self.resolutions, strict=True):
            chosen = (frequency > 1 / 15) & (frequency < 1 / resolution)
            logs = [0.5 * np.log(self._power(map_ * soft)[chosen]) for map_ in (found, self.truth)]
            rows.append(float(np.std(logs[0] - logs[1])))
        return rows

    def _power(self, block):
        tensor = torch.from_numpy(np.ascontiguousarray(block, np.float32))
        sums, counts = radial_power(tensor, (self.voxel,) * 3, 0.5 / self.voxel)
        return sums / np.maximum(counts, 1)

    def fsc_resolutions(self, found):
        """Return where each chain's FSC with the truth falls below 0.5, in angstrom."""
        rows = []
        edge = len(found)
        radius = _radius(found.shape, self.voxel)
        index = np.rint(radius * edge * self.voxel).astype(int)
        for soft in self.soft:
            a, b = (scipy.fft.rfftn((m * soft).astype(np.float32)) for m in (found, self.truth))
            top = np.bincount(index.ravel(), (a * b.conj()).real.ravel())
            below = [np.bincount(index.ravel(), (np.abs(s) ** 2).ravel()) for s in (a, b)]
            curve = (top / np.sqrt(below[0] * below[1]))[: edge // 2 + 1]
            low = np.flatnonzero(curve[2:] < 0.5)
            rows.append(edge * self.voxel / (low[0] + 2) if low.size else 2 * self.voxel)
        return rows


def _radius(shape, voxel):
    z, y, x = (
        np.fft.fftfreq(shape[0], voxel)[:, None, None],
        np.fft.fftfreq(shape[1], voxel)[None, :, None],
        np.fft.rfftfreq(shape[2], voxel)[None, None, :],
    )
    return np.sqrt(z * z + y * y + x * x)


def compare(structure, resolutions, noise, voxel):
    torch.set_num_threads(1)
    base = {"structure": structure, "voxel_size_angstrom": voxel}
    truth = make_model(ModelParameters(**base, b_factor=40.0))
    names = [chain.name for chain in truth.chains]
    phantom = make_model(
        ModelParameters(
            **base,
            b_factor=60.0,
            noise_sigma=noise,
            chain_resolution_angstrom=dict(zip(names, resolutions, strict=False)),
        )
    )
    rng = np.random.default_rng(0)
    shape = phantom.density.shape
    halves = [
        phantom.density + noise * rng.standard_normal(shape, dtype=np.float32) for _ in range(2)
    ]
    observed = (halves[0] + halves[1]) / 2
    mask = (ndimage.distance_transform_edt(phantom.labels == 0) <= 2).astype(np.float32)
    true = [chain.resolution_angstrom(0.143) for chain in phantom.chains]
    judge = Judge(truth.density, phantom.labels, true, voxel)
    print("chains", names, "true resolution (0.143)", np.round(true, 2).tolist(), "box", shape[0])
    rows = [("observed", observed)]
    with tempfile.TemporaryDirectory() as place:
        mask_path = str(Path(place) / "mask.mrc")
        with mrcfile.new(mask_path) as file:
            file.set_data(mask)
            file.voxel_size = voxel
        options = {"pixel_size_angstrom": voxel, "mask": mask_path}
        local = compute_localfsc(
            halves[0],
            halves[1],
            LocalFscParameters(thresholds=(0.143,)),
            RunOptions(output=Path(place) / "localfsc", **options),
        )
        found = np.asarray(local.dataset(load=True)["locres"][0])
        medians = [float(np.nanmedian(found[phantom.labels == c])) for c in judge.chains]
        print("local FSC, medians", np.round(medians, 2).tolist())
        for name, parameters in {
            "paper, 3 iterations": DeblurParameters(iterations=3, change=0.0),
            "paper, 1 % rule": DeblurParameters(),
            "xmipp": DeblurParameters(model="xmipp"),
            "blur": DeblurParameters(model="blur"),
        }.items():
            run = deblur_map(
                observed,
                local.directory,
                parameters,
                RunOptions(output=Path(place) / name.replace(" ", "_"), **options),
            )
            rows.append((name, mrcfile.read(run.directory / run.record["outputs"]["sharpened"])))
    rows += global_maps(observed, mask, judge, min(true))
    print(f"{'':34s} correlation with truth      Guinier distance          FSC 0.5 with truth (A)")
    for name, values in rows:
        columns = [judge.correlations(values), judge.distances(values)]
        text = "   ".join(" ".join(f"{v:6.3f}" for v in column) for column in columns)
        fsc = " ".join(f"{v:5.1f}" for v in judge.fsc_resolutions(values))
        print(f"{name:34s} {text}   {fsc}")


def global_maps(observed, mask, judge, finest):
    """Return the Guinier-fitted global map, the best for the mean, and the best for each chain."""
    voxel = judge.voxel
    radius = _radius(observed.shape, voxel)
    spectrum = scipy.fft.rfftn(observed)

    def sharpen(b, cut):
        edge = np.clip((1 / cut - radius) / 0.03 + 0.5, 0, 1)
        gain = (edge * np.exp(b * radius**2 / 4)).astype(np.float32)
        return scipy.fft.irfftn(spectrum * gain, s=observed.shape).astype(np.float32)

    sums, counts = radial_power(torch.from_numpy(observed * mask), (voxel,) * 3, 0.5 / voxel)
    amplitude = np.sqrt(sums / np.maximum(counts, 1))
    b, _ = fit_b_factor(bin_centres(0.5 / voxel), amplitude, high_angstrom=finest)
    rows = [(f"global B {b:.0f} (Guinier), {finest:.1f} A", sharpen(b, finest))]
    tried = {}
    for cut in sorted({round(float(r), 1) for r in judge.resolutions}):
        for b in range(0, 241, 20):
            tried[b, cut] = judge.correlations(sharpen(b, cut))
    scores = np.array(list(tried.values()))
    keys = list(tried)
    b, cut = keys[int(scores.mean(axis=1).argmax())]
    rows.append((f"global B {b} at {cut} A (best mean)", sharpen(b, cut)))
    for chain in judge.chains:
        b, cut = keys[int(scores[:, chain - 1].argmax())]
        rows.append((f"global B {b} at {cut} A (best, {chain})", sharpen(b, cut)))
    return rows


def scale(folder, edge, more):
    """Sharpen a blob phantom that may be far larger than the workers' memory."""
    volumes = make_blob(folder, edge)
    output = folder / f"deblur{edge}"
    command = distres("deblur", volumes["half1"], "--locres", volumes["truth_0.5"])
    command += ["-m", volumes["mask"], "-o", output, "--overwrite", *more]
    say("LocalDeblur", measure(command))
    describe(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("cost")
    first.add_argument("--oracle", type=Path, required=True)
    second = commands.add_parser("compare")
    second.add_argument("structure", type=Path)
    second.add_argument("--resolutions", type=float, nargs="+", default=[3.2, 4.2, 6.0, 9.0])
    second.add_argument("--noise", type=float, default=0.03)
    second.add_argument("--voxel", type=float, default=1.5)
    third = commands.add_parser("scale")
    third.add_argument("--edge", type=int, default=1024)
    third.add_argument("--folder", type=Path, default=Path("deblur_scale"))
    options, more = parser.parse_known_args()
    if more and options.command != "scale":
        parser.error(f"unknown options: {' '.join(more)}")
    if options.command == "cost":
        cost(options.oracle)
    elif options.command == "scale":
        scale(options.folder, options.edge, more)
    else:
        compare(options.structure, options.resolutions, options.noise, options.voxel)


if __name__ == "__main__":
    main()
