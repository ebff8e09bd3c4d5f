"""The course of a training, drawn."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from distres.methods.deepres_training import CURVE

_TRAINING, _VALIDATION = "#999999", "#0072b2"


def draw_curve(folder: Path) -> Path:
    """Draw loss and error against the step as ``curve.png``.

    Parameters
    ----------
    folder
        Of the training.

    Returns
    -------
    Path
        The picture.
    """
    curve = json.loads((folder / CURVE).read_text())
    steps = [entry["step"] for entry in curve]
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [entry["training_loss"] for entry in curve], color=_TRAINING, label="training")
    left.plot(steps, [entry["loss"] for entry in curve], color=_VALIDATION, label="validation")
    left.set(xlabel="step", ylabel="loss")
    left.legend(frameon=False)
    right.plot(steps, [100 * entry["error"] for entry in curve], color=_VALIDATION)
    right.set(xlabel="step", ylabel="median absolute error (%)")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    path = folder / "curve.png"
    figure.savefig(path, format="png", dpi=160)
    return path
