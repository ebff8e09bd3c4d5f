"""The TOML file that says how a DeepRes model is trained."""

import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from distres.errors import InputError, UsageError
from distres.kernels.deepres import MARGIN, WINDOW_VOX, DeepResConfig
from distres.kernels.deepres_synthesis import Augmentation
from distres.methods.deepres_data import DataRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How the weights are found.

    Parameters
    ----------
    steps
        Batches in all.
    batch
        Crops in a batch, each of another filtered map.
    crop_vox
        Edge of a crop; its answers share their convolutions.
    pool, refresh
        Filtered maps that are kept, and how many each step replaces.
    learning_rate, warm_up, decay_share
        Adam's rate rises over `warm_up` steps, stays, and falls to zero as half a cosine over the
        last share of the steps.
    average
        Decay of the running average of the weights, which is what is validated and kept.
    validate_every, validation_crops
        Steps between two validations, and crops of one.
    patience
        Validations without a better one before training stops early.
    seed
        Of weights, maps, crops and noise.
    """

    steps: int
    batch: int = 32
    crop_vox: int = 17
    pool: int = 128
    refresh: int = 3
    learning_rate: float = 2e-3
    warm_up: int = 200
    decay_share: float = 0.4
    average: float = 0.998
    validate_every: int = 500
    validation_crops: int = 512
    patience: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop_vox < WINDOW_VOX or self.crop_vox % 2 == 0:
            raise UsageError(
                f"crop_vox must be odd and at least the window's {WINDOW_VOX}, not {self.crop_vox}"
            )
        for name in ("steps", "batch", "pool", "refresh", "validate_every", "validation_crops"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the weights, besides the structures."""

    network: DeepResConfig
    data: DataRecipe
    training: TrainingRecipe
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        needed = (self.training.crop_vox / 2 + 3) * self.network.voxel_size_angstrom
        if self.data.margin_angstrom < needed:
            raise UsageError(
                f"crops of {self.training.crop_vox} voxels need a margin_angstrom of at least "
                f"{needed:g}, not {self.data.margin_angstrom:g}"
            )

    @property
    def labels_angstrom(self) -> tuple[float, float]:
        """Return the labels that occur: a tenth beyond the range at both ends."""
        low, high = self.network.range_angstrom
        return low / MARGIN, high * MARGIN

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


_SECTIONS = {
    "network": DeepResConfig,
    "data": DataRecipe,
    "training": TrainingRecipe,
    "augmentation": Augmentation,
}


def shipped_recipe(model: str) -> Path:
    """Return the file that model A or B was trained with."""
    name = f"deepres_{model.lower()}.toml"
    return Path(str(resources.files("distres") / "models" / name))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    InputError
        The file cannot be read, or lacks a section or a value.
    UsageError
        It names something unknown, or a value is out of bounds.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the recipe {path} cannot be read: {error}") from error
    _refuse_unknown(path, "sections", set(table), set(_SECTIONS))
    made = {}
    for section, kind in _SECTIONS.items():
        values = table.get(section, {})
        if not isinstance(values, dict):
            raise UsageError(f"'{section}' of {path} must be a section, not {values!r}")
        made[section] = kind(**_arguments(path, section, values, kind))
    return Recipe(**made)


def _arguments(path: Path, section: str, values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Check names and types of a section's values."""
    hints = get_type_hints(kind)
    _refuse_unknown(path, f"values in [{section}]", set(values), set(hints))
    required = {entry.name for entry in fields(kind) if entry.default is MISSING}
    missing = sorted(required - set(values))
    if missing:
        raise UsageError(f"[{section}] of {path} lacks {', '.join(missing)}; add it")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UsageError(
                f"{name} in [{section}] of {path} must be {_WORDS[_element(hints[name])]}, "
                f"not {value!r}"
            )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


_WORDS = {int: "whole numbers", float: "numbers", str: "text"}


def _element(hint: Any) -> type:  # noqa: ANN401
    """Return what a value, or each of its parts, must be."""
    element: type = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return element


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    listed = get_origin(hint) is tuple
    if listed and not isinstance(value, list):
        return False
    if listed and Ellipsis not in get_args(hint) and len(value) != len(get_args(hint)):
        return False
    wanted = int | float if _element(hint) is float else _element(hint)
    parts = value if listed else [value]
    return all(isinstance(part, wanted) and not isinstance(part, bool) for part in parts)


def _refuse_unknown(path: Path, what: str, given: set[str], known: set[str]) -> None:
    unknown = sorted(given - known)
    if unknown:
        raise UsageError(
            f"{path} has unknown {what}: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
