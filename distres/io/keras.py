"""Read the weights of the original DeepRes from the HDF5 files that Keras writes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.errors import InputError
from distres.kernels.deepres_original import OriginalWeights

# A saved model keeps the optimiser's moments too, in arrays of the same shapes.
_WEIGHTS, _OPTIMISER = "model_weights", "optimizer_weights"


def read_original_weights(path: str | Path) -> OriginalWeights:
    """Read ``model_w13.h5``, ``model_w7.h5`` or weights of the same network.

    Both what ``model.save`` and what ``model.save_weights`` wrote is read, by the shapes of the
    arrays, whatever their layers are called.

    Raises
    ------
    InputError
        h5py is missing, the file is no HDF5 file, or it holds another network.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "Keras weights are read with h5py, which is not installed; pip install 'distres[keras]'"
        ) from error
    found: dict[str, npt.NDArray[np.float32]] = {}

    def take(name: str, node: Any) -> None:  # noqa: ANN401 - h5py's own objects
        if isinstance(node, h5py.Dataset) and not name.startswith(_OPTIMISER):
            found[name] = np.asarray(node, np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.get(_WEIGHTS, file).visititems(take)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} is no HDF5 file that can be read: {error}") from error
    return _sorted(str(path), found)


def _sorted(path: str, found: dict[str, npt.NDArray[np.float32]]) -> OriginalWeights:
    kernels = [values for values in found.values() if values.ndim == 5]
    matrices = sorted((v for v in found.values() if v.ndim == 2), key=lambda v: v.shape[1])
    vectors = {v.shape[0]: v for v in found.values() if v.ndim == 1}
    if len(kernels) != 1 or len(matrices) != 2 or len(vectors) != 3 or len(found) != 6:
        shapes = ", ".join(str(values.shape) for values in found.values()) or "none"
        raise InputError(
            f"{path} holds arrays of shapes {shapes}; the original DeepRes has one convolution and "
            "two dense layers, each with its bias of its own length"
        )
    kernel, (last, dense) = kernels[0], matrices
    sizes = kernel.shape[-1], dense.shape[1], last.shape[1]
    if not all(size in vectors for size in sizes):
        raise InputError(
            f"{path} has biases of lengths {sorted(vectors)}, its layers need {sorted(sizes)}"
        )
    return OriginalWeights(
        kernel=kernel,
        bias=vectors[sizes[0]],
        dense_kernel=dense,
        dense_bias=vectors[sizes[1]],
        last_kernel=last,
        last_bias=vectors[sizes[2]],
    )
