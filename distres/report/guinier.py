"""Pictures of a sharpened map: Guinier plot, convergence curve, and a script for ChimeraX."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distres.errors import InputError
from distres.kernels.guinier import fit_b_factor
from distres.report.figures import plain, write_both
from distres.report.fscplot import angstrom_ticks
from distres.report.record import RunRecord
from distres.report.viewers import chimerax_script

# Okabe & Ito: apart for colour-blind eyes.
_BEFORE, _AFTER, _MODEL = "#0072b2", "#d55e00", "#009e73"

Columns = dict[str, npt.NDArray[np.float64]]


def read_columns(path: Path) -> Columns:
    """Read a table with one line of names.

    Raises
    ------
    InputError
        It is not there, or holds no numbers.
    """
    try:
        table = np.genfromtxt(path, delimiter=",", names=True, ndmin=1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return {name: np.asarray(table[name], np.float64) for name in table.dtype.names or ()}


def draw_guinier(profile: Columns, *, finest_angstrom: float, title: str = "") -> Figure:
    """Draw ``ln F`` over ``1/d^2`` of a map before and after, with the lines through them.

    Parameters
    ----------
    profile
        ``frequency_per_angstrom``, ``amplitude_before``, ``amplitude_after``, perhaps
        ``amplitude_model``.
    finest_angstrom
        Where the fits end.
    title
        Shown above.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    frequency = profile["frequency_per_angstrom"]
    for name, colour in (("before", _BEFORE), ("after", _AFTER)):
        amplitude = profile[f"amplitude_{name}"]
        known = np.isfinite(amplitude) & (amplitude > 0)
        b, start = fit_b_factor(frequency, amplitude, high_angstrom=finest_angstrom)
        label = name if not np.isfinite(b) else f"{name}: B = {b:.0f} Å²"
        axes.plot(
            frequency[known] ** 2,
            np.log(amplitude[known]),
            color=colour,
            linewidth=1.8,
            linestyle="-" if name == "after" else (0, (5, 1.5)),
            label=label,
        )
        if np.isfinite(b):
            axes.plot(frequency**2, start - b * frequency**2 / 4, color=colour, linewidth=0.7)
    if "amplitude_model" in profile:
        model = profile["amplitude_model"]
        shown = (model > 0) & (frequency <= 1 / finest_angstrom)
        log = np.log(model[shown])
        axes.plot(frequency[shown] ** 2, log, color=_MODEL, linewidth=1.2, label="model (scaled)")
    logs = [np.log(profile[f"amplitude_{n}"]) for n in ("before", "after")]
    finite = np.concatenate([log[np.isfinite(log)] for log in logs])
    if finite.size:
        axes.set_ylim(float(finite.min()) - 0.3, float(finite.max()) + 0.3)
    highest = float(frequency[-1])
    axes.set_xlim(0, highest**2)
    axes.axvline(1 / finest_angstrom**2, color="#999999", linewidth=0.7, linestyle=":")
    axes.set_xlabel("1 / d² (1/Å²)")
    axes.set_ylabel("ln of the mean amplitude")
    ticks = [tick for tick in angstrom_ticks(highest) if (1 / tick / highest) ** 2 > 0.03]
    top = axes.twiny()
    top.set_xlim(0, highest**2)
    top.set_xticks([1 / tick**2 for tick in ticks], [f"{tick:g}" for tick in ticks])
    top.set_xlabel("resolution (Å)")
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    axes.set_title(plain(title), fontsize=8.5, loc="left")
    return figure


def draw_convergence(iterations: Columns, *, stop: float | None, title: str = "") -> Figure:
    """Draw the change of every iteration, and the residual.

    Parameters
    ----------
    iterations
        ``number``, ``change``, ``residual``.
    stop
        The change at which iterations end; None where another rule does.
    title
        Shown above.
    """
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    number = iterations["number"]
    axes.semilogy(number, 100 * iterations["change"], "o-", color=_AFTER, label="change (%)")
    residual = iterations["residual"]
    axes.semilogy(number, 100 * residual, "s--", color=_BEFORE, label="residual (% of the map)")
    if stop is not None and stop > 0:
        axes.axhline(100 * stop, color="#999999", linewidth=0.7)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(plain(title), fontsize=8.5, loc="left")
    return figure


def draw_deblur(directory: Path) -> list[Path]:
    """Draw a finished run of LocalDeblur; return what was written."""
    record = RunRecord.load(directory)
    outputs = record.outputs
    name = Path(outputs["sharpened"]).stem
    finest = float(record.raw["statistics"]["sharp_angstrom"])
    profile = read_columns(directory / outputs["guinier"])
    written = write_both(
        draw_guinier(profile, finest_angstrom=finest, title=f"{name}: Guinier plot"),
        directory,
        f"{name}_guinier",
    )
    parameters = record.raw["parameters"]
    written += write_both(
        draw_convergence(
            read_columns(directory / outputs["iterations"]),
            stop=float(parameters["change"]) if parameters["model"] != "xmipp" else None,
            title=f"{name}: convergence",
        ),
        directory,
        f"{name}_convergence",
    )
    script = directory / f"{name}.cxc"
    script.write_text(
        chimerax_script(
            directory / outputs["sharpened"],
            directory / outputs["locres_fill"],
            record.histograms["used"].limits(),
            directory=directory,
            heading=f"{name}: sharpened map, coloured by the local resolution",
        ),
        encoding="utf-8",
    )
    return [*written, script]
