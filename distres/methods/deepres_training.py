"""The training of a DeepRes network: batches, validation, checkpoints."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import cos, log, pi
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from distres.engine.interrupt import Interrupt
from distres.errors import ResumeError, RunInterrupted
from distres.kernels.deepres import DeepResNetwork, seeded_network
from distres.kernels.deepres_synthesis import Crops
from distres.methods.deepres_recipe import Recipe, TrainingRecipe
from distres.methods.deepres_sampler import Sampler

logger = logging.getLogger(__name__)

_HUBER = 0.1  # of the logarithm: larger errors count linearly
VALIDATION_SEED = 1_000_003
_AT_ONCE = 64
_ONE_SIGMA = 0.6827
CHECKPOINT, CURVE = "checkpoint.pt", "curve.json"

# What may change when training goes on: how long, how fast, not what is learnt from.
_MAY_CHANGE = ("steps", "learning_rate", "decay_share", "patience", "validate_every")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How good the averaged weights were after a step.

    Attributes
    ----------
    step
        Batches until then.
    seconds
        Processor time until then.
    training_loss
        Mean since the last validation.
    loss
        Of the validation crops.
    error
        Median of the absolute error of the logarithm: about the relative error.
    spread
        SD of the errors divided by their stated uncertainty; 1 where it is right.
    """

    step: int
    seconds: float
    training_loss: float
    loss: float
    error: float
    spread: float


def loss_of(
    mean: torch.Tensor, log_sigma: torch.Tensor, label: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Return the loss of a batch.

    The mean is fitted by a Huber loss on the logarithm, so hopeless windows do not pull; the
    uncertainty by the Gaussian likelihood of the residuals, which leaves the mean alone.

    Parameters
    ----------
    mean, log_sigma
        (n, z, y, x) as `DeepResNetwork.logarithms` gives them.
    label
        (n,) logarithm of the true resolution.
    weight
        (n, z, y, x) what counts.
    """
    residual = mean - label[:, None, None, None]
    fit = functional.huber_loss(
        residual, torch.zeros_like(residual), reduction="none", delta=_HUBER
    )
    likelihood = (
        0.5 * (residual.detach() * torch.exp(-log_sigma)).square().clamp_max(25) + log_sigma
    )
    total = weight.sum().clamp_min(1)
    return ((fit / _HUBER + 0.02 * likelihood) * weight).sum() / total


class Training:
    """A network on its way, with everything needed to go on.

    Parameters
    ----------
    recipe
        What and how.
    training, validation
        Make what crops come from, for a training that goes on from a step.
    folder
        For the checkpoint and the curve.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Callable[[int], Sampler],
        validation: Callable[[int], Sampler],
        folder: Path,
    ) -> None:
        self.recipe, self.folder = recipe, folder
        self.network = seeded_network(recipe.network, recipe.training.seed)
        # Convolutions of few channels are a fifth faster this way.
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.averaged = seeded_network(recipe.network, recipe.training.seed)
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.training.learning_rate)
        self.curve: list[Validation] = []
        self.best: dict[str, torch.Tensor] = {}
        self.step = 0
        self._sampler_from = training
        self._spent = 0.0
        self._held: list[Crops] = []
        self._validation = validation

    def run(self, report: Callable[[Validation], None]) -> DeepResNetwork:
        """Train until the last step or until validation no longer improves.

        Returns
        -------
        DeepResNetwork
            The averaged weights that validated best.

        Raises
        ------
        RunInterrupted
            Somebody asked to stop; the checkpoint holds all that was done.
        """
        plan, losses = self.recipe.training, []
        sampler = self._sampler_from(self.step)
        clock = time.process_time()
        with Interrupt() as interrupt:
            while self.step < plan.steps:
                losses.append(self._learn(sampler.batch(plan.batch)))
                self.step += 1
                due = self.step % plan.validate_every == 0 or self.step == plan.steps
                if due or interrupt.requested:
                    now = time.process_time()
                    self._spent, clock = self._spent + now - clock, now
                    self._validate(float(np.mean(losses)))
                    losses = []
                    report(self.curve[-1])
                    self.save()
                    if self._exhausted():
                        logger.info("validation has not improved for %d rounds", plan.patience)
                        break
                if interrupt.requested:
                    raise RunInterrupted(
                        f"training stopped after step {self.step} of {plan.steps}; "
                        "the same command with --resume goes on"
                    )
        self.averaged.load_state_dict(self.best)
        return self.averaged

    def _learn(self, crops: Crops) -> float:
        plan = self.recipe.training
        for group in self.optimizer.param_groups:
            group["lr"] = rate(plan, self.step)
        mean, log_sigma = self.network.logarithms(torch.from_numpy(crops.density))
        label = torch.from_numpy(crops.label_angstrom).log()
        loss = loss_of(mean, log_sigma, label, torch.from_numpy(crops.weight))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        # Early averages must not remember the random start.
        keep = min(plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
            for average, current in pairs:
                average.lerp_(current, 1 - keep)
        return float(loss.detach())

    def _validate(self, training_loss: float) -> None:
        losses, residual, scaled = self._residuals(self.averaged)
        self.curve.append(
            Validation(
                step=self.step,
                seconds=self._spent,
                training_loss=training_loss,
                loss=float(np.mean(losses)),
                error=float(residual.abs().median()),
                spread=float(scaled.square().mean().sqrt()),
            )
        )
        if self.curve[-1].loss <= min(entry.loss for entry in self.curve):
            self.best = {k: v.clone() for k, v in self.averaged.state_dict().items()}

    def _residuals(self, network: DeepResNetwork) -> tuple[list[float], torch.Tensor, torch.Tensor]:
        """Return losses, errors of the logarithm, and those over their uncertainty."""
        wanted = self.recipe.training.validation_crops
        if not self._held:
            sampler = self._validation(0)
            self._held = [sampler.batch(_AT_ONCE) for _ in range(-(-wanted // _AT_ONCE))]
        losses, errors, scaled = [], [], []
        with torch.no_grad():
            for crops in self._held:
                mean, log_sigma = network.logarithms(torch.from_numpy(crops.density))
                label = torch.from_numpy(crops.label_angstrom).log()
                weight = torch.from_numpy(crops.weight)
                losses.append(float(loss_of(mean, log_sigma, label, weight)))
                residual = (mean - label[:, None, None, None])[weight > 0]
                errors.append(residual)
                scaled.append(residual * torch.exp(-log_sigma[weight > 0]))
        return losses, torch.cat(errors), torch.cat(scaled)

    def calibrate(self, network: DeepResNetwork) -> float:
        """Scale the uncertainty so that 68.3 % of the validation lies within it.

        Returns
        -------
        float
            The factor.
        """
        _, _, scaled = self._residuals(network)
        size = scaled.abs().sort().values
        factor = float(size[int(_ONE_SIGMA * (len(size) - 1))])
        with torch.no_grad():
            assert network.answer.bias is not None
            network.answer.bias[1] += log(factor)
        return factor

    def _exhausted(self) -> bool:
        losses = [entry.loss for entry in self.curve]
        return len(losses) - 1 - int(np.argmin(losses)) >= self.recipe.training.patience

    def save(self) -> None:
        """Write the checkpoint and the curve, each in one move."""
        state = {
            "recipe": self.recipe.as_dict(),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self._spent,
            "curve": [asdict(entry) for entry in self.curve],
        }
        partial = self.folder / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(self.folder / CHECKPOINT)
        curve = self.folder / f"{CURVE}.partial"
        curve.write_text(json.dumps([asdict(entry) for entry in self.curve], indent=1))
        curve.replace(self.folder / CURVE)

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        ResumeError
            It belongs to another recipe.
        """
        path = self.folder / CHECKPOINT
        state = torch.load(path, weights_only=True)
        differing = _differences(state["recipe"], self.recipe.as_dict())
        if differing:
            raise ResumeError(
                f"{path} was made with other values of {', '.join(differing)}; give the recipe it "
                f"was begun with (only {', '.join(_MAY_CHANGE)} may change)"
            )
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.step, self._spent = state["step"], state["seconds"]
        self.curve = [Validation(**entry) for entry in state["curve"]]

    def start_from(self, network: DeepResNetwork) -> None:
        """Take the weights of another network of the same shape.

        On a grid of other voxels the answer begins as the same resolution in voxels: what a
        network sees of a cutoff is its wavelength in voxels.
        """
        mine, theirs = self.recipe.network, network.config
        state = network.state_dict()
        low, high = (np.log(mine.range_angstrom[i]) for i in (0, 1))
        their_low, their_high = (np.log(theirs.range_angstrom[i]) for i in (0, 1))
        stretch = (their_high - their_low) / (high - low)
        finer = np.log(mine.voxel_size_angstrom / theirs.voxel_size_angstrom)
        shift = ((their_low + their_high) / 2 + finer - (low + high) / 2) / ((high - low) / 2)
        for name in ("answer.weight", "answer.bias"):
            state[name] = state[name].clone()
            state[name][0] *= stretch
        state["answer.bias"][0] += shift
        for one in (self.network, self.averaged):
            one.load_state_dict(state)


def rate(plan: TrainingRecipe, step: int) -> float:
    """Return Adam's learning rate at a step."""
    rising = min(1.0, (step + 1) / max(plan.warm_up, 1))
    start = plan.steps * (1 - plan.decay_share)
    falling = max(0.0, (step - start) / max(plan.steps - start, 1))
    return plan.learning_rate * rising * 0.5 * (1 + cos(pi * falling))


def _differences(
    stored: dict[str, dict[str, object]], given: dict[str, dict[str, object]]
) -> list[str]:
    return [
        f"{section}.{name}"
        for section, values in given.items()
        for name, value in values.items()
        if stored[section].get(name) != value
        and not (section == "training" and name in _MAY_CHANGE)
    ]
