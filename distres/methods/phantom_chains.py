"""How sharp the chains of a model phantom are, and the true FSC that follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError
from distres.io.grid import Shape3
from distres.io.structures import Structure
from distres.kernels.chains import PowerCurve, power_curve
from distres.kernels.density import Scatterers
from distres.kernels.noise import Noise
from distres.kernels.phantom import first_crossing_angstrom
from distres.methods.phantom_files import noise_from

DoubleArray = npt.NDArray[np.float64]

_EDGE_OF_NYQUIST = 0.04  # width of the low-pass's edge, as a fraction of the Nyquist frequency


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParameters:
    """What a model phantom looks like.

    Attributes
    ----------
    structure
        PDB or mmCIF file.
    assembly
        Biological assembly to build, by its name in the file.
    shape
        Voxels (z, y, x); None takes a cube that leaves `padding_angstrom` on every side.
    voxel_size_angstrom
        Edge of a voxel.
    padding_angstrom
        Room around the atoms when `shape` is None.
    b_factor
        B of all atoms in square angstrom; None keeps those of the file.
    chain_b
        B of the atoms of single chains; added to the file's when `b_factor` is None.
    chain_resolution_angstrom
        Chains blurred until their true FSC falls below 0.5 at this resolution.
    resolution_angstrom
        Low-pass of the whole map; None leaves it as sharp as the grid allows.
    noise_sigma
        Standard deviation of the noise of a half; None follows from `snr`.
    snr
        Variance of the density of the chains, as sharp as `b_factor` leaves them, over that of
        the noise of a half.
    noise_colour
        Excess power at frequency 0 relative to the white part, and its B; None for white noise.
    keep_waters
        Keep water molecules.
    seed
        Which noise.
    thresholds
        FSC thresholds of the truth maps.
    """

    structure: Path
    assembly: str | None = None
    shape: Shape3 | None = None
    voxel_size_angstrom: float = 1.0
    padding_angstrom: float = 20.0
    b_factor: float | None = 60.0
    chain_b: Mapping[str, float] = field(default_factory=dict)
    chain_resolution_angstrom: Mapping[str, float] = field(default_factory=dict)
    resolution_angstrom: float | None = None
    noise_sigma: float | None = None
    snr: float = 1.0
    noise_colour: tuple[float, float] | None = None
    keep_waters: bool = False
    seed: int = 0
    thresholds: tuple[float, ...] = (0.5, 0.143)

    def __post_init__(self) -> None:
        if not self.voxel_size_angstrom > 0:
            raise UsageError(f"the voxel size must be positive, not {self.voxel_size_angstrom}")
        if not self.snr > 0:
            raise UsageError(f"a signal-to-noise ratio must be positive, not {self.snr}")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"a seed lies between 0 and 2^64 - 1, not {self.seed}")
        both = self.chain_b.keys() & self.chain_resolution_angstrom.keys()
        if both:
            raise UsageError(
                f"chain {min(both)} is given a B-factor and a resolution; give one of them"
            )
        for b in (self.b_factor or 0.0, *self.chain_b.values()):
            if not b >= 0:
                raise UsageError(f"a B-factor must be 0 or more, not {b}")
        finest = 2 * self.voxel_size_angstrom
        wanted = (self.resolution_angstrom, *self.chain_resolution_angstrom.values())
        for resolution in wanted:
            if resolution is not None and not resolution >= finest:
                raise UsageError(
                    f"a resolution of {resolution:g} angstrom is finer than Nyquist, {finest:g}; "
                    "take smaller voxels"
                )

    def transfer(self, frequency_per_angstrom: DoubleArray) -> DoubleArray:
        """Return the low-pass: 1 up to the resolution, a cosine edge around it, 0 beyond."""
        if self.resolution_angstrom is None:
            return np.ones_like(frequency_per_angstrom)
        width = _EDGE_OF_NYQUIST * 0.5 / self.voxel_size_angstrom
        beyond = (frequency_per_angstrom - 1 / self.resolution_angstrom) / width + 0.5
        return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0, 1)), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTruth:
    """The true FSC of a chain.

    Attributes
    ----------
    name, label
        Name in the file, and its number in the labels.
    base
        Power before `extra_b`.
    extra_b
        Blur beyond the atoms' own, in square angstrom.
    noise
        Noise of each half.
    parameters
        Give the low-pass and the voxel size.
    """

    name: str
    label: int
    base: PowerCurve
    extra_b: float
    noise: Noise
    parameters: ModelParameters

    def fsc(self, frequency_per_angstrom: DoubleArray) -> DoubleArray:
        """Return the true FSC at frequencies in 1/angstrom."""
        k = frequency_per_angstrom
        signal = self.base.at(k) * np.exp(-self.extra_b * k**2 / 2)
        signal = signal * self.parameters.transfer(k) ** 2
        return np.asarray(signal / np.maximum(signal + self.noise.power(k), 1e-300))

    def resolution_angstrom(self, threshold: float) -> float:
        """Return where the FSC first falls below a threshold, else Nyquist."""
        return first_crossing_angstrom(self.fsc, threshold, self.parameters.voxel_size_angstrom)


def check_chains(structure: Structure, parameters: ModelParameters) -> None:
    """Refuse choices for chains that the structure does not have.

    Raises
    ------
    UsageError
        Naming the chain and those that exist.
    """
    for name in (*parameters.chain_b, *parameters.chain_resolution_angstrom):
        if name not in structure.chains:
            raise UsageError(
                f"{structure.path} has no chain '{name}'; it has: {', '.join(structure.chains)}"
            )


def with_base_b(structure: Structure, parameters: ModelParameters) -> Scatterers:
    """Return the atoms with the B-factors asked for, chain by chain."""
    atoms = structure.atoms
    if parameters.b_factor is not None:
        atoms = replace(atoms, b_factors=np.full(len(atoms), parameters.b_factor))
    b_factors = atoms.b_factors.copy()
    for name, b in parameters.chain_b.items():
        mine = structure.chain_of == structure.chains.index(name)
        b_factors[mine] = b if parameters.b_factor is not None else b_factors[mine] + b
    return replace(atoms, b_factors=b_factors)


def chain_truths(
    structure: Structure, atoms: Scatterers, parameters: ModelParameters
) -> tuple[ChainTruth, ...]:
    """Measure every chain once (its copies have the same power) and settle noise and blur."""
    curves: dict[str, PowerCurve] = {}
    for number, name in enumerate(structure.chains):
        mine = (structure.chain_of == number) & (structure.copy_of == 0)
        if mine.any():
            curves[name] = power_curve(atoms.select(mine), parameters.voxel_size_angstrom)
    sigma = parameters.noise_sigma
    if sigma is None:
        volumes = [curve.volume_vox for curve in curves.values()]
        variance = np.average([curve.variance for curve in curves.values()], weights=volumes)
        sigma = float(np.sqrt(variance / parameters.snr))
    noise = noise_from(sigma, parameters.noise_colour)
    return tuple(
        ChainTruth(
            name=name,
            label=structure.chains.index(name) + 1,
            base=curve,
            extra_b=_extra_b(name, curve, noise, parameters),
            noise=noise,
            parameters=parameters,
        )
        for name, curve in curves.items()
    )


def _extra_b(name: str, curve: PowerCurve, noise: Noise, parameters: ModelParameters) -> float:
    """Solve ``S(k) exp(-B k^2 / 2) = N(k)``, FSC 0.5, for B at the resolution wanted."""
    wanted = parameters.chain_resolution_angstrom.get(name)
    if wanted is None:
        return 0.0
    k = np.array([1 / wanted])
    signal, power = float(curve.at(k)[0]), float(noise.power(k)[0])
    if signal <= power:
        raise UsageError(
            f"chain {name} cannot reach {wanted:g} angstrom: its power there is "
            f"{signal:.3g}, that of the noise {power:.3g}; use --noise below "
            f"{noise.sigma * np.sqrt(signal / power):.3g} or a smaller --b-factor"
        )
    if power == 0:
        raise UsageError("a chain's resolution follows from the noise; give --noise above 0")
    return float(2 * wanted**2 * np.log(signal / power))
