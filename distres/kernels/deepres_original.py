"""The network of the DeepRes paper, for those who have its weights.

Ramirez-Aportela et al. 2019 (IUCrJ 6, 1054), as the released program builds it: each window of 13^3
voxels is divided by its norm and goes through one convolution of 32 filters of 13^3 voxels with
zero padding, a dense layer of 512 and one number; ReLU after the first two. Nothing is shared
between neighbouring windows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from distres.errors import InputError
from distres.kernels.deepres import HALO_VOX, WINDOW_VOX
from distres.kernels.predict import Workload

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalWeights:
    """Weights in the order Keras keeps them (channels last).

    Attributes
    ----------
    kernel, bias
        (13, 13, 13, 1, filters) and (filters,) of the convolution.
    dense_kernel, dense_bias
        (13^3 filters, hidden) and (hidden,); rows run over z, y, x and then the filters.
    last_kernel, last_bias
        (hidden, 1) and (1,).

    Raises
    ------
    InputError
        The shapes do not belong together.
    """

    kernel: Float32
    bias: Float32
    dense_kernel: Float32
    dense_bias: Float32
    last_kernel: Float32
    last_bias: Float32

    def __post_init__(self) -> None:
        filters, hidden = self.kernel.shape[-1], self.dense_kernel.shape[-1]
        wanted = {
            "kernel": (WINDOW_VOX, WINDOW_VOX, WINDOW_VOX, 1, filters),
            "bias": (filters,),
            "dense_kernel": (WINDOW_VOX**3 * filters, hidden),
            "dense_bias": (hidden,),
            "last_kernel": (hidden, 1),
            "last_bias": (1,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"the {name} of the original network has shape {shape}, not "
                    f"{getattr(self, name).shape}: these weights belong to another network"
                )

    @property
    def workload(self) -> Workload:
        """Cost of a window: every tap of the convolution counted, as dense arithmetic does it."""
        filters, hidden = self.kernel.shape[-1], self.dense_kernel.shape[-1]
        operations = float(WINDOW_VOX**6 * filters + WINDOW_VOX**3 * filters * hidden + hidden)
        return Workload(
            window_operations=operations,
            dense_operations=operations,
            # Activations, their copy in the order of Keras, and what the convolution takes.
            bytes_per_voxel=4.0 * (3 * filters + 2),
        )


class OriginalNetwork(torch.nn.Module):
    """The paper's network on windows; its answer carries no uncertainty (NaN)."""

    def __init__(self, weights: OriginalWeights) -> None:
        super().__init__()
        kernel = np.ascontiguousarray(weights.kernel.transpose(4, 3, 0, 1, 2))
        tensors = {
            "kernel": kernel,
            "bias": weights.bias,
            "dense_kernel": np.ascontiguousarray(weights.dense_kernel.T),
            "dense_bias": weights.dense_bias,
            "last_kernel": np.ascontiguousarray(weights.last_kernel.T),
            "last_bias": weights.last_bias,
        }
        for name, values in tensors.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, 13, 13, 13) to (n, 2, 1, 1, 1): angstrom, and NaN."""
        norm = windows.square().sum(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        part = self.get_buffer
        seen = functional.conv3d(
            windows / norm, part("kernel"), part("bias"), padding=HALO_VOX
        ).relu_()
        # Keras flattens z, y, x, filter.
        flat = seen.permute(0, 2, 3, 4, 1).flatten(1)
        hidden = functional.linear(flat, part("dense_kernel"), part("dense_bias")).relu_()
        value = functional.linear(hidden, part("last_kernel"), part("last_bias"))
        answer = torch.cat([value, torch.full_like(value, torch.nan)], dim=1)
        return answer[:, :, None, None, None]
