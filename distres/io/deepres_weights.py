"""Weights of the DeepRes networks as safetensors files, with what they are in the header."""

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from distres.errors import InputError
from distres.kernels.deepres import DeepResConfig, DeepResNetwork

SHIPPED = ("A", "B")
_CONFIG, _CARD = "config", "card"


def load_model(name: str) -> DeepResNetwork:
    """Load a network that is shipped with the package.

    Parameters
    ----------
    name
        ``A`` (1.0 angstrom voxels) or ``B`` (0.5 angstrom voxels).

    Returns
    -------
    DeepResNetwork
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        There is no such model.
    """
    if name not in SHIPPED:
        raise InputError(f"there is no DeepRes model '{name}'; give one of {', '.join(SHIPPED)}")
    resource = resources.files("distres") / "models" / f"deepres_{name.lower()}.safetensors"
    with resources.as_file(resource) as path:
        return load_weights(path)


def load_weights(path: Path) -> DeepResNetwork:
    """Load a network that `save_weights` wrote.

    Raises
    ------
    InputError
        The file does not exist or is none of ours.
    """
    if not path.is_file():
        raise InputError(f"the weights {path} do not exist")
    try:
        with safe_open(str(path), framework="pt") as stored:
            header = stored.metadata() or {}
            weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        network = DeepResNetwork(_config(json.loads(header[_CONFIG])))
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path} holds no DeepRes weights that can be read; "
            "give a .safetensors file that distres train-deepres wrote"
        ) from error
    return network.eval()


def save_weights(network: DeepResNetwork, path: Path, card: dict[str, object]) -> None:
    """Write a network with its configuration and model card.

    Parameters
    ----------
    network
        Any device.
    path
        Replaced if it exists.
    card
        What a reader should know: training set, recipe, figures, licence.
    """
    weights = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    header = {_CONFIG: json.dumps(asdict(network.config)), _CARD: json.dumps(card)}
    partial = path.with_name(path.name + ".partial")
    save_file(weights, str(partial), metadata=header)
    partial.replace(path)


def model_card(path: Path) -> dict[str, object]:
    """Return the card that `save_weights` stored."""
    with safe_open(str(path), framework="pt") as stored:
        card = json.loads((stored.metadata() or {}).get(_CARD, "{}"))
    return dict(card)


def _config(values: dict[str, object]) -> DeepResConfig:
    """Make a configuration from JSON, whose tuples are lists."""
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return DeepResConfig(**fields)  # type: ignore[arg-type]
