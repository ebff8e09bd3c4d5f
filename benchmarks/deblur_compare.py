"""LocalDeblur against global B-factors, on maps of structures whose chains end apart.

Usage:
    python benchmarks/deblur_compare.py one STRUCTURE [--resolutions 3.2 4.2 6 9] [--noise 0.03]
    python benchmarks/deblur_compare.py many STRUCTURE... [--seeds 1 2] [--keep FOLDER]
    python benchmarks/deblur_compare.py gains PICTURE

Half maps of a structure are made, its chains blurred until their FSC falls below 0.5 at different
resolutions; the local resolution is measured with `localfsc`; the map is sharpened, and each chain
compared with the noise-free, unblurred map: correlation in the chain's voxels, FSC (the frequency
where it falls below 0.5), and the distance of Guinier profiles (standard deviation of ln F over
shells from 15 angstrom to the chain's true resolution).

Global B-factors are tried with several low-passes; of them all, the best for each chain alone is
shown as well as the best for their mean: no user can have the former. `distres filter` (a low-pass
at the local resolution), with the global B-factor that is best for the mean, says how much comes
from leaving noise out alone.

`many` does it for several structures, each with several noises and with resolutions that change
places among the chains, and says by how much each method beats the best global B-factor for the
mean, by the distance of the chain from the mean resolution of its map.

With `--keep` what was found of each map is kept and not computed again.

`gains` draws by how much each frequency grows where the resolution is the same everywhere: there
H is one filter h, and iterations are numbers.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mrcfile
import numpy as np
import scipy.fft
import torch
from common import table
from matplotlib.figure import Figure
from scipy import ndimage

from distres.kernels.deblur_bands import covering_bands
from distres.kernels.deblur_bank import make_bank
from distres.kernels.guinier import bin_centres, fit_b_factor, radial_power
from distres.kernels.noise import noise_region
from distres.methods.deblur_plan import AMPLITUDE, SNR_AT_RESOLUTION, DeblurParameters
from distres.methods.deblur_run import deblur_map
from distres.methods.localfilter import FilterParameters
from distres.methods.localfilter_run import compute_filter
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.options import RunOptions
from distres.methods.phantom_chains import ModelParameters
from distres.methods.phantom_model import make_model

THREE, FOUR = (3.2, 5.0, 9.0), (3.2, 4.2, 6.0, 9.0)
FILTER_B = (0, 40, 80, 120, 160, 240)
COLOURS = ("#56b4e9", "#0072b2", "#d55e00")
BEST_MEAN = "best global B for the mean"
BEST_EACH = "best global B for the chain"


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


class Phantom:
    """Half maps of a structure with their truth, and the judge of what is made of them."""

    def __init__(self, structure, resolutions, *, noise, voxel, seed=0, colour=None):
        base = {"structure": structure, "voxel_size_angstrom": voxel}
        truth = make_model(ModelParameters(**base, b_factor=40.0))
        self.names = [chain.name for chain in truth.chains]
        made = make_model(
            ModelParameters(
                **base,
                b_factor=60.0,
                noise_sigma=noise,
                noise_colour=colour,
                chain_resolution_angstrom=dict(zip(self.names, resolutions, strict=False)),
            )
        )
        shape = made.density.shape
        region = tuple(slice(0, n) for n in shape)
        of_noise = {"seed": seed, "voxel_size_angstrom": voxel}
        self.halves = [
            made.density + noise_region(made.chains[0].noise, region, stream=stream, **of_noise)
            for stream in (1, 2)
        ]
        self.observed = ((self.halves[0] + self.halves[1]) / 2).astype(np.float32)
        self.mask = (ndimage.distance_transform_edt(made.labels == 0) <= 2).astype(np.float32)
        self.true = [chain.resolution_angstrom(0.143) for chain in made.chains]
        self.judge = Judge(truth.density, made.labels, self.true, voxel)
        self.voxel = voxel

    def maps(self, place):
        """Return (name, map) of every method, and the medians of the measured resolution."""
        mask = place / "mask.mrc"
        with mrcfile.new(mask) as file:
            file.set_data(self.mask)
            file.voxel_size = self.voxel
        options = {"pixel_size_angstrom": self.voxel, "mask": str(mask)}
        local = compute_localfsc(
            *self.halves,
            LocalFscParameters(thresholds=(0.143,)),
            RunOptions(output=place / "localfsc", **options),
        )
        found = np.asarray(local.dataset(load=True)["locres"][0])
        labels = self.judge.labels
        medians = [float(np.nanmedian(found[labels == c])) for c in self.judge.chains]
        rows = [("observed", self.observed)]
        for name, parameters in {
            "paper, 3 iterations": DeblurParameters(iterations=3, change=0.0),
            "paper, 1 % rule": DeblurParameters(),
            "xmipp": DeblurParameters(model="xmipp"),
            "blur": DeblurParameters(model="blur"),
        }.items():
            output = place / name.replace(" ", "_")
            run = deblur_map(
                self.observed, local.directory, parameters, RunOptions(output=output, **options)
            )
            rows.append((name, mrcfile.read(run.directory / run.record["outputs"]["sharpened"])))
        rows += self.filtered(local.directory / local.record["outputs"]["locres_fill"], place)
        return rows + global_maps(self.observed, self.mask, self.judge, min(self.true)), medians

    def filtered(self, local, place):
        """Return what the local filter makes of the map with the best global B-factor."""
        options = {"pixel_size_angstrom": self.voxel}
        best, found = -1.0, None
        for b in FILTER_B:
            run = compute_filter(
                self.observed,
                local,
                FilterParameters(b_factor_angstrom2=-float(b)),
                RunOptions(output=place / f"filter{b}", **options),
            )
            values = mrcfile.read(run.path)
            score = float(np.mean(self.judge.correlations(values)))
            if score > best:
                best, found = score, (f"local filter, global B {b} (best mean)", values)
        return [found]


def gains(picture):
    """Draw the gain of the published model and of `blur` at three resolutions, SNR 20."""
    voxel, snr, resolutions = 1.5, 20.0, (3.2, 5.0, 9.0)
    bands = covering_bands(3.2, 9.0 + 13.6, 1 / (25 * voxel))
    ends = {"highest_angstrom": 3.2, "lowest_angstrom": 9.0, "top_per_angstrom": 0.5 / voxel}
    bank = make_bank(bands, k_per_square_angstrom=0.025, **ends)
    frequency = bank.radii_per_angstrom
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    for axes, resolution in zip(figure.subplots(1, 3, sharey=True), resolutions, strict=True):
        weights = [np.interp(resolution, bank.resolutions_angstrom, f) for f in bank.fields]
        h = np.asarray(weights) @ bank.filters
        curves = {"paper, 3 iterations": iterated(h, snr, 3), "paper, solution": wiener(h, 1 / snr)}
        plain = AMPLITUDE ** ((resolution * frequency) ** 2)
        curves["blur, solution"] = wiener(plain, AMPLITUDE**2 / SNR_AT_RESOLUTION)
        for (name, gain), colour in zip(curves.items(), COLOURS, strict=True):
            axes.semilogy(frequency, gain, color=colour, linewidth=1.6, label=name)
        axes.axvline(1 / resolution, color="#999999", linewidth=0.8, linestyle=":")
        axes.axhline(1, color="#999999", linewidth=0.6)
        axes.set_ylim(0.03, 8)
        axes.set_xlim(0, 0.5 / voxel)
        axes.set_xlabel("frequency (1/Å)")
        axes.set_title(f"local resolution {resolution:g} Å (dotted)", fontsize=9, loc="left")
    figure.axes[0].set_ylabel("amplitude after / before")
    figure.axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(picture, dpi=110)


def wiener(h, damping):
    """Return the gain at which the iterations end."""
    return np.maximum(h / (h**2 + damping), 1e-6)


def iterated(h, snr, count):
    """Return the gain after some iterations, with the step of a map of white spectrum."""
    step = min(0.1 / np.sqrt(np.mean(h**2)), snr)
    gain = np.ones_like(h)
    for _ in range(count):
        gain = gain + step * (h * (1 - h * gain) - gain / snr)
    return gain


def one(structure, resolutions, noise, voxel):
    phantom = Phantom(structure, resolutions, noise=noise, voxel=voxel)
    print("chains", phantom.names, "true (0.143)", np.round(phantom.true, 2).tolist())
    print("box", phantom.observed.shape[0])
    with tempfile.TemporaryDirectory() as place:
        rows, medians = phantom.maps(Path(place))
    print("local FSC, medians", np.round(medians, 2).tolist())
    judge = phantom.judge
    print(f"{'':40s} correlation with truth      Guinier distance          FSC 0.5 with truth (A)")
    for name, values in rows:
        columns = [judge.correlations(values), judge.distances(values)]
        text = "   ".join(" ".join(f"{v:6.3f}" for v in column) for column in columns)
        fsc = " ".join(f"{v:5.1f}" for v in judge.fsc_resolutions(values))
        print(f"{name:40s} {text}   {fsc}", flush=True)


def many(structures, seeds, noise, voxel, colour, keep):
    """Compare methods over structures, seeds and orders of resolutions."""
    found = []
    for structure in structures:
        for seed in seeds:
            name = f"{structure.name}_{seed}_{noise}_{voxel}_{colour}.json"
            kept = None if keep is None else keep / name
            if kept is not None and kept.exists():
                found += json.loads(kept.read_text())
                continue
            chains = chains_of(structure, seed, noise, voxel, colour)
            if kept is not None:
                keep.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(chains))
            found += chains
    names = list(found[0]["scores"])
    kept = {"observed", "local filter", "paper, 3 iterations", "paper, 1 % rule", "xmipp", "blur"}
    names = [name for name in names if name in kept] + [BEST_EACH]
    rows = []
    for label, chosen in (
        ("all chains", found),
        ("within 25 % of the mean resolution", [c for c in found if abs(c["apart"]) <= 0.25]),
        ("sharper by more", [c for c in found if c["apart"] < -0.25]),
        ("coarser by more", [c for c in found if c["apart"] > 0.25]),
    ):
        for name in names:
            gains = [c["scores"][name][0] - c["scores"][BEST_MEAN][0] for c in chosen]
            spread = np.mean([c["scores"][name][1] for c in chosen])
            better = sum(gain > 0 for gain in gains)
            values = [f"{np.mean(gains):+.3f}", f"{min(gains):+.3f}", f"{max(gains):+.3f}"]
            rows.append([label, name, f"{better} of {len(gains)}", *values, f"{spread:.2f}"])
    heads = ["chains", "method", "better", "mean gain", "least", "most", "Guinier distance"]
    print(table(rows, heads))
    spread = np.mean([c["scores"][BEST_MEAN][1] for c in found])
    print(f"Guinier distance of the best global B for the mean, all chains: {spread:.2f}")


def chains_of(structure, seed, noise, voxel, colour):
    """Return for every chain of one phantom how well each method did."""
    names = [chain.name for chain in make_model(ModelParameters(structure=structure)).chains]
    resolutions = np.random.default_rng(seed).permutation(FOUR if len(names) > 3 else THREE)
    settings = {"noise": noise, "voxel": voxel, "seed": seed, "colour": colour}
    phantom = Phantom(structure, [float(r) for r in resolutions], **settings)
    with tempfile.TemporaryDirectory() as place:
        maps, medians = phantom.maps(Path(place))
    scores = {}
    for name, values in maps:
        judged = [phantom.judge.correlations(values), phantom.judge.distances(values)]
        scores[name] = list(zip(*judged, strict=True))
    mean = np.mean(phantom.true)
    found = []
    print(
        f"{structure.name}, seed {seed}: true {np.round(phantom.true, 2).tolist()}, measured",
        end="",
    )
    print(f" {np.round(medians, 2).tolist()}", flush=True)
    for c, true in enumerate(phantom.true):
        of_chain = {}
        for name, columns in scores.items():
            short = name
            if "(best mean)" in name:
                short = "local filter" if name.startswith("local filter") else BEST_MEAN
            elif name.startswith("global"):
                short = BEST_EACH if f"(best, {c + 1})" in name else ""
            if short:
                of_chain[short] = [float(value) for value in columns[c]]
        found.append({"apart": float(true / mean - 1), "scores": of_chain})
        text = ", ".join(
            f"{name} {value[0]:.4f} ({value[1]:.3f})" for name, value in of_chain.items()
        )
        print(f"  {true:.2f} A: {text}", flush=True)
    return found


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("one")
    first.add_argument("structure", type=Path)
    first.add_argument("--resolutions", type=float, nargs="+", default=FOUR)
    second = commands.add_parser("many")
    second.add_argument("structures", type=Path, nargs="+")
    second.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    second.add_argument("--keep", type=Path)
    second.add_argument("--colour", type=float, nargs=2, help="excess and B of the noise")
    for command in (first, second):
        command.add_argument("--noise", type=float, default=0.03)
        command.add_argument("--voxel", type=float, default=1.5)
    third = commands.add_parser("gains")
    third.add_argument("picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "gains":
        gains(options.picture)
    elif options.command == "one":
        one(options.structure, options.resolutions, options.noise, options.voxel)
    else:
        colour = None if options.colour is None else tuple(options.colour)
        settings = (options.noise, options.voxel, colour, options.keep)
        many(options.structures, options.seeds, *settings)


if __name__ == "__main__":
    main()
