"""The DeepRes network: the resolution of one map, read from the look of its density.

Ramirez-Aportela et al. 2019 (IUCrJ 6, 1054) slide a window of 13^3 voxels over the map, divide it
by its L2 norm and let a network say at which frequency such a window was low-passed. Here the trunk
is convolutions without bias and ReLUs, so it is positively homogeneous: ``trunk(a x) = a trunk(x)``
for ``a > 0``. Dividing the trunk's output by the norm of the window that it has seen is therefore
the same as running it on the normalised window, and all windows share one convolution pass.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import nn
from torch.nn import functional

from distres.errors import UsageError

WINDOW_VOX = 13
HALO_VOX = WINDOW_VOX // 2

# The network may answer this factor beyond either end of its range, so that an answer at the end
# is one that was not pushed there.
MARGIN = 1.1

_LEAST_NORM = 1e-30
_LOG_SIGMA = (log(0.003), log(1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepResConfig:
    """Shape of a network and what it is for.

    Parameters
    ----------
    voxel_size_angstrom
        Voxel edge of the grid the network works on.
    range_angstrom
        Finest and coarsest resolution it is trained for.
    widths
        Channels of the trunk's layers.
    kernels, dilations
        Edge of the filters of each layer and the distance between their taps; together they must
        see 13 voxels.
    head
        Channels of the hidden 1^3 layer.

    Raises
    ------
    UsageError
        The layers do not see windows of 13 voxels, or their lists differ in length.
    """

    voxel_size_angstrom: float
    range_angstrom: tuple[float, float]
    widths: tuple[int, ...] = (16, 16, 24, 24, 32, 32)
    kernels: tuple[int, ...] = (3, 3, 3, 3, 3, 3)
    dilations: tuple[int, ...] = (1, 1, 1, 1, 1, 1)
    head: int = 64

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.kernels) == len(self.dilations):
            raise UsageError(
                f"a network's layers need one width, kernel and dilation each, not "
                f"{len(self.widths)}, {len(self.kernels)} and {len(self.dilations)}"
            )
        layers = zip(self.kernels, self.dilations, strict=True)
        seen = 1 + sum((kernel - 1) * dilation for kernel, dilation in layers)
        if seen != WINDOW_VOX:
            raise UsageError(f"the layers see {seen} voxels, but the window has {WINDOW_VOX}")

    @property
    def operations_per_voxel(self) -> int:
        """Return multiply-adds for each voxel of a large map."""
        inputs = (1, *self.widths[:-1])
        layers = zip(inputs, self.widths, self.kernels, strict=True)
        trunk = sum(before * after * kernel**3 for before, after, kernel in layers)
        return trunk + self.widths[-1] * self.head + self.head * 2


class DeepResNetwork(nn.Module):
    """Resolution and its standard uncertainty at every voxel whose window is complete."""

    def __init__(self, config: DeepResConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (1, *config.widths[:-1])
        self.trunk = nn.ModuleList(
            nn.Conv3d(before, after, kernel, dilation=dilation, bias=False)
            for before, after, kernel, dilation in zip(
                inputs, config.widths, config.kernels, config.dilations, strict=True
            )
        )
        self.hidden = nn.Conv3d(config.widths[-1], config.head, 1)
        self.answer = nn.Conv3d(config.head, 2, 1)
        low, high = (log(value) for value in config.range_angstrom)
        self._centre, self._half = (low + high) / 2, (high - low) / 2
        self._bounds = (low - log(MARGIN), high + log(MARGIN))

    def forward(self, density: torch.Tensor) -> torch.Tensor:
        """Read the resolution.

        Parameters
        ----------
        density
            (n, 1, z, y, x) float32 on the model's grid, in any units.

        Returns
        -------
        (n, 2, z - 12, y - 12, x - 12) float32
            Resolution and its standard uncertainty in angstrom. Windows of zeros get an answer
            too; it means nothing.
        """
        mean, log_sigma = self.logarithms(density)
        resolution = torch.exp(mean.clamp(*self._bounds))
        return torch.stack([resolution, resolution * torch.exp(log_sigma)], dim=1)

    def logarithms(self, density: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logarithm of the resolution, and that of the SD of this logarithm.

        Parameters
        ----------
        density
            (n, 1, z, y, x) float32.

        Returns
        -------
        (n, z - 12, y - 12, x - 12) float32, twice
        """
        density = _scaled(density)
        features = density
        for layer in self.trunk:
            features = functional.relu(layer(features))
        features = features.float() * (WINDOW_VOX / window_norm(density))
        mean, log_sigma = self.answer(functional.relu(self.hidden(features))).float().unbind(1)
        return mean * self._half + self._centre, (log_sigma - 3).clamp(*_LOG_SIGMA)


def window_norm(density: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm of the 13^3 window around every voxel.

    Parameters
    ----------
    density
        (n, 1, z, y, x) float32.

    Returns
    -------
    (n, 1, z - 12, y - 12, x - 12) float32
        At least 1e-30.
    """
    total = density.float().square()
    for axis in range(3):
        edge = [1, 1, 1]
        edge[axis] = WINDOW_VOX
        total = functional.avg_pool3d(total, edge, stride=1)
    return (total * WINDOW_VOX**3).sqrt().clamp_min(_LEAST_NORM)


def _scaled(density: torch.Tensor) -> torch.Tensor:
    """Bring the largest value near 1 by a power of two: exact, and safe in half precision."""
    largest = density.detach().abs().amax(dim=(1, 2, 3, 4), keepdim=True).float()
    mantissa, _ = torch.frexp(largest)
    power = torch.where(largest > 0, largest / mantissa, 1.0)
    return density / power.to(density.dtype)


def seeded_network(config: DeepResConfig, seed: int) -> DeepResNetwork:
    """Return an untrained network whose weights depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    network = DeepResNetwork(config)
    for layer in [*network.trunk, network.hidden, network.answer]:
        assert isinstance(layer, nn.Conv3d)
        inputs = layer.weight[0].numel()
        with torch.no_grad():
            layer.weight.normal_(0, (2 / inputs) ** 0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    return network
