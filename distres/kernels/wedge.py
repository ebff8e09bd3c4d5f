"""The missing wedge of a tilt series: which frequencies a single-axis tomogram has measured."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch

from distres.errors import UsageError

Shape3 = tuple[int, int, int]
Float3 = tuple[float, float, float]
AXES = "zyx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wedge:
    """Tilts about one axis, seen along another.

    Attributes
    ----------
    tilt_axis, beam_axis
        ``z``, ``y`` or ``x``; the beam runs along `beam_axis` in the untilted image.
    low_degrees, high_degrees
        First and last tilt. Tilt t measures frequencies along cos t of the third axis and sin t of
        the beam axis.
    edge_degrees
        Width of the soft edge, outside the measured range.
    """

    tilt_axis: str = "y"
    beam_axis: str = "z"
    low_degrees: float = -60.0
    high_degrees: float = 60.0
    edge_degrees: float = 2.0

    def __post_init__(self) -> None:
        if self.tilt_axis not in AXES or self.beam_axis not in AXES:
            raise UsageError(f"axes are x, y or z, not '{self.tilt_axis}' and '{self.beam_axis}'")
        if self.tilt_axis == self.beam_axis:
            raise UsageError(
                f"the tilt axis cannot be the direction of the beam ({self.beam_axis}, the thin "
                "axis); give --tilt-axis"
            )
        if not -90 <= self.low_degrees < self.high_degrees <= 90:
            raise UsageError(
                f"tilts run from -90 to 90 degrees at most, not {self.low_degrees:g} to "
                f"{self.high_degrees:g}"
            )

    def gain(
        self, shape: Shape3, voxel_angstrom: Float3, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Return 1 for measured frequencies, 0 in the wedge, for a centred spectrum.

        Returns
        -------
        tensor
            float32 that broadcasts against (z, y, x): its tilt axis has length 1. It is equal for
            opposite frequencies, so that filtered fields stay real.
        """
        tilt, beam = AXES.index(self.tilt_axis), AXES.index(self.beam_axis)
        (third,) = {0, 1, 2} - {tilt, beam}
        u = [(np.arange(n) - n // 2) / (n * d) for n, d in zip(shape, voxel_angstrom, strict=True)]
        plane = self._gain_of(u[beam][:, None], u[third][None, :])
        # The highest frequency of an even axis stands for both signs: it is kept if both are.
        if shape[beam] % 2 == 0:
            plane[0] = np.minimum(plane[0], self._gain_of(-u[beam][:1, None], u[third][None, :])[0])
        if shape[third] % 2 == 0:
            plane[:, 0] = np.minimum(
                plane[:, 0], self._gain_of(u[beam][:, None], -u[third][None, :1])[:, 0]
            )
        if beam > third:
            plane = plane.T
        found = torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))
        return found.unsqueeze(tilt).to(device)

    def _gain_of(
        self,
        beam: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
        third: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        angle = np.degrees(np.arctan2(beam, third))
        # Directions, not vectors: fold into -90 .. 90.
        folded = np.where(angle > 90, angle - 180, np.where(angle < -90, angle + 180, angle))
        outside = np.full(folded.shape, inf)
        for turned in (folded, folded - 180, folded + 180):
            away = np.maximum(self.low_degrees - turned, turned - self.high_degrees)
            outside = np.minimum(outside, np.maximum(away, 0.0))
        share = np.clip(outside / max(self.edge_degrees, 1e-9), 0, 1)
        kept = 0.5 + 0.5 * np.cos(np.pi * share)
        return np.where((beam == 0) & (third == 0), 1.0, kept)

    @property
    def measured(self) -> float:
        """Share of the directions across the tilt axis that is measured."""
        return (self.high_degrees - self.low_degrees) / 180.0


def thin_axis(shape: Shape3) -> str:
    """Return the axis along which a tomogram is thin: clearly the shortest, or else z."""
    order = sorted(range(3), key=lambda axis: shape[axis])
    if shape[order[0]] <= 0.7 * shape[order[1]]:
        return AXES[order[0]]
    return "z"
