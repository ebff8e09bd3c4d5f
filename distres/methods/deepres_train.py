"""`distres train-deepres`: from a folder of structures to a file of weights."""

import logging
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from distres.engine.progress import format_seconds
from distres.errors import OutputExistsError, ResumeError, UsageError
from distres.io.deepres_weights import SHIPPED, load_model, load_weights, save_weights
from distres.kernels.deepres import DeepResNetwork
from distres.methods.deepres_data import (
    HELD_OUT,
    TRAINING,
    VALIDATION,
    PieceFile,
    prepare,
    structure_files,
    write_manifest,
)
from distres.methods.deepres_recipe import Recipe
from distres.methods.deepres_sampler import Sampler
from distres.methods.deepres_training import CHECKPOINT, VALIDATION_SEED, Training, Validation

logger = logging.getLogger(__name__)

WEIGHTS, MANIFEST, PIECES = "weights.safetensors", "manifest.tsv", "pieces"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What `train` is asked for.

    Attributes
    ----------
    structures
        Folder of PDB and mmCIF files.
    recipe
        How to train.
    output
        Folder for densities, checkpoint, curve, manifest and weights.
    resume
        Go on from the checkpoint.
    start_from
        Model A or B, or a file of weights, to begin with instead of random weights.
    overwrite
        Begin again where a checkpoint lies.
    threads
        Processor threads.
    """

    structures: Path
    recipe: Recipe
    output: Path
    resume: bool = False
    start_from: str | None = None
    overwrite: bool = False
    threads: int = 1


def plan(options: TrainOptions) -> dict[str, Any]:
    """Check everything that can be checked in seconds, and say what would be done.

    Raises
    ------
    InputError, UsageError, OutputExistsError, ResumeError
        Structures or a split are missing, or the output folder holds another training, or
        none to go on with.
    """
    files = structure_files(options.structures)
    data = options.recipe.data
    counts = Counter(data.split_of(name) for name in files)
    if not counts[TRAINING] or not counts[VALIDATION]:
        raise UsageError(
            f"{options.structures} has {counts[TRAINING]} structures for training and "
            f"{counts[VALIDATION]} for validation; name some of them as 'validation' in the "
            "recipe's [data] and leave others unnamed"
        )
    if options.resume and options.start_from:
        raise UsageError("--resume goes on from a checkpoint and --start-from begins; give one")
    if (options.output / CHECKPOINT).exists() and not (options.resume or options.overwrite):
        raise OutputExistsError(
            f"{options.output} holds a training; give --resume to go on, --overwrite to begin "
            "again, or another --output"
        )
    if options.resume and not (options.output / CHECKPOINT).exists():
        raise ResumeError(
            f"{options.output} holds no {CHECKPOINT} to go on from; leave --resume away to begin"
        )
    missing = sorted(set(data.validation) - set(files))
    if missing:
        logger.warning("structures for validation that are not there: %s", ", ".join(missing))
    if options.start_from:
        _beginning(options)
    return {
        "structures": {split: counts[split] for split in (TRAINING, VALIDATION, HELD_OUT)},
        "operations_per_voxel": options.recipe.network.operations_per_voxel,
        "steps": options.recipe.training.steps,
        "output": str(options.output),
    }


def train(options: TrainOptions) -> Path:
    """Train and write the weights.

    Returns
    -------
    Path
        The file of weights.
    """
    plan(options)
    torch.set_num_threads(options.threads)
    recipe, output = options.recipe, options.output
    output.mkdir(parents=True, exist_ok=True)
    files = structure_files(options.structures)
    write_manifest(output / MANIFEST, files, recipe.data)
    voxel = recipe.network.voxel_size_angstrom
    pieces = prepare(files, recipe.data, voxel, output / PIECES)
    training = _training(pieces, options)
    if options.resume:
        training.load()
    elif options.start_from:
        training.start_from(_beginning(options))
    network = training.run(lambda entry: _say(entry, recipe.training.steps))
    spread = training.calibrate(network)
    best = min(training.curve, key=lambda entry: entry.loss)
    card = {
        "recipe": recipe.as_dict(),
        "structures": dict(Counter(recipe.data.split_of(name) for name in files)),
        "validation": asdict(best),
        "uncertainty_scaled_by": spread,
        "licence": "BSD-3-Clause; trained on coordinates of the PDB (CC0)",
    }
    save_weights(network, output / WEIGHTS, card)
    return output / WEIGHTS


def _training(pieces: list[PieceFile], options: TrainOptions) -> Training:
    """Put samplers and network together."""
    recipe, folder = options.recipe, options.output / PIECES

    def sampler(split: str, seed: int, step: int) -> Sampler:
        mine = [piece for piece in pieces if piece.split == split]
        return Sampler(mine, folder, recipe, seed, step)

    return Training(
        recipe,
        partial(sampler, TRAINING, recipe.training.seed),
        partial(sampler, VALIDATION, VALIDATION_SEED),
        options.output,
    )


def _beginning(options: TrainOptions) -> DeepResNetwork:
    """Load the weights to start from, which must fit the recipe's network."""
    name = str(options.start_from)
    network = load_model(name) if name in SHIPPED else load_weights(Path(name))
    mine, theirs = options.recipe.network, network.config
    for part in ("widths", "kernels", "dilations", "head"):
        if getattr(mine, part) != getattr(theirs, part):
            raise UsageError(
                f"the weights {name} have {part} {getattr(theirs, part)}, the recipe has "
                f"{getattr(mine, part)}; make them equal"
            )
    return network


def _say(entry: Validation, steps: int) -> None:
    logger.info(
        "step %d of %d, processor time %s: loss %.4f, validation %.4f, error %.2f %%, spread %.2f",
        entry.step,
        steps,
        format_seconds(entry.seconds),
        entry.training_loss,
        entry.loss,
        100 * entry.error,
        entry.spread,
    )
