"""What the monogenic methods read: pyramids, mask, and where the noise is measured."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zarr

from distres.engine.jobs import Source
from distres.engine.runner import output
from distres.errors import TrustWarning
from distres.io.grid import Float3, Grid
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.kernels.wedge import Wedge
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.mask import search_level
from distres.methods.monores_blocks import MASK_ABOVE
from distres.methods.monores_plan import MonoResParameters, levels_wanted
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session
from distres.methods.single import Map, open_maps
from distres.methods.solvent import NoiseSphere, cells_near, find_noise_sphere, middle_angstrom
from distres.methods.symmetry import Unit, bring_unit, levels_for_search

NEAR = "monores/near"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoResInputs:
    """What MonoRes reads, all in pyramids: voxel i of level l lies on voxel ``i * 2**l``.

    Attributes
    ----------
    half1
        Levels of half map 1, or of the map.
    half2
        Levels of half map 2; None for a single map.
    grid
        Grid of level 0.
    mask, occupancy
        Mask on level 0, and its largest value in cells; None answers every voxel.
    unit, unit_occupancy
        The part of the mask that is answered, where that is not all of it. Noise that is measured
        in the mask is then measured there too.
    point_group
        How that part makes the whole (`distres.methods.symmetry_tiles.Frame`), as JSON values.
    region
        Levels of the noise region's mask; None for the default region.
    sphere, near
        Where solvent holds noise, and the cells around the mask that the particle's waves reach;
        needed for a single map without `region`.
    mirror_vox
        How far blocks are mirrored at the volume's faces; 0 takes the volume as periodic.
    wedge
        Frequencies that were not measured.
    """

    half1: Sequence[Source]
    half2: Sequence[Source] | None
    grid: Grid
    mask: Source | None = None
    occupancy: Source | None = None
    unit: Source | None = None
    unit_occupancy: Source | None = None
    point_group: Mapping[str, Any] | None = None
    region: Sequence[Source] | None = None
    sphere: NoiseSphere | None = None
    near: Source | None = None
    mirror_vox: int = 0
    wedge: Wedge | None = None

    @property
    def levels(self) -> int:
        """Levels that can be used."""
        others = [a for a in (self.half2, self.region) if a is not None]
        return min([len(self.half1), *(len(a) for a in others)])

    @property
    def region_kind(self) -> str:
        """Where noise is measured: ``file``, ``solvent`` or ``mask``."""
        if self.region is not None:
            return "file"
        return "mask" if self.half2 is not None else "solvent"

    @property
    def centre_angstrom(self) -> Float3:
        """Where radii are counted from: axes of symmetry meet there, in angstrom from voxel 0."""
        if self.point_group is None:
            return middle_angstrom(self.grid)
        centre, spacing = self.point_group["centre_vox"], self.grid.voxel_size_angstrom
        z, y, x = (float(c) * d for c, d in zip(centre, spacing, strict=True))
        return z, y, x

    @property
    def density(self) -> tuple[Source, ...]:
        """The maps as they were given: what pictures show."""
        return tuple(self.maps(0).values())

    def maps(self, level: int) -> dict[str, Source]:
        """Return the maps of one level by role."""
        found = {"half1": self.half1[level]}
        return found if self.half2 is None else {**found, "half2": self.half2[level]}

    def masks(self, level: int, *, solvent: bool = False) -> dict[str, Source]:
        """Return what says which voxels to solve, on one level; for solvent, what to leave out."""
        if solvent and self.near is not None:
            return {"occupancy": self.near}
        whole = solvent or self.unit is None
        mask = self.mask if whole else self.unit
        occupancy = self.occupancy if whole else self.unit_occupancy
        found: dict[str, Source] = {}
        if mask is not None and level == 0:
            found["mask"] = mask
        if occupancy is not None:
            found["occupancy"] = occupancy
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a monogenic method was given.

    Attributes
    ----------
    maps
        Two half maps, or a `Map`.
    region
        Mask of the voxels to measure noise in, if one was named.
    levels
        Pyramid levels that the tests, and the searches, need.
    """

    maps: HalfMaps
    region: Volume | None
    levels: int

    @property
    def single(self) -> bool:
        """Whether it is a single map."""
        return isinstance(self.maps, Map)

    @property
    def mode(self) -> str:
        """``single map`` or ``half maps``, for the record."""
        return "single map" if self.single else "half maps"


def open_given(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoResParameters,
    options: RunOptions,
    *,
    single: bool,
) -> Given:
    """Open maps and noise region, and check them against each other and the range.

    Parameters
    ----------
    first, second
        Paths, addresses, arrays or volumes. When only one is given, its partner is looked for by
        name, and without one it is taken as a single map.
    parameters
        Of the sweep.
    options
        Gives the mask and the pixel size.
    single
        Take `first` as a single map even if it has a partner.

    Raises
    ------
    InputError
        A file cannot be read, or the grids differ.
    UsageError
        The range does not fit the grid.
    """
    maps = open_maps(first, second, options, single=single)
    grid = maps.half1.grid
    levels = levels_for_search(maps, options)
    if isinstance(maps, Map):
        levels = max(levels, search_level(grid.shape) + 1)
    if parameters.compat:
        parameters.range_angstrom(grid)
    else:
        levels = max(levels, levels_wanted(grid, parameters))
    return Given(maps=maps, region=_open_region(maps, parameters, options), levels=levels)


def _open_region(
    maps: HalfMaps, parameters: MonoResParameters, options: RunOptions
) -> Volume | None:
    if parameters.noise_region is None:
        return None
    with warnings.catch_warnings():
        # What the maps' own headers say has been told already.
        warnings.simplefilter("ignore", TrustWarning)
        region = open_volume(parameters.noise_region, options.pixel_size_angstrom)
    require_same_grid(maps.half1, region)
    return region


def bring_inputs(
    session: Session, given: Given, parameters: MonoResParameters
) -> tuple[MonoResInputs, Unit]:
    """Put everything into the run: pyramids, mask, what of it is solved, and the noise's sphere.

    Raises
    ------
    InputError
        A single map holds no noise to compare with.
    """
    run, executor, levels = session.run, session.executor, given.levels
    maps, region = given.maps, given.region
    grid = maps.half1.grid
    one = ingest(maps.half1, run, "map" if given.single else "half1", executor, levels)
    two = None if given.single else ingest(maps.half2, run, "half2", executor, levels)
    mask = bring_mask(session, maps, one, two)
    if not given.single:
        judge_halves(session, maps, masked=False)
    unit = bring_unit(session, maps, mask, one, two, mask_above=MASK_ABOVE)
    sphere, near = None, None
    if two is None and region is None and not parameters.compat:
        sphere = find_noise_sphere(one[search_level(grid.shape)], grid, mask.occupancy)
        cells = cells_near(mask.occupancy, grid, sphere, parameters.range_angstrom(grid)[1])
        zarr.create_array(run.store, name=NEAR, data=cells, chunks=cells.shape, overwrite=True)
        near = output(run, NEAR)
    inputs = MonoResInputs(
        half1=one,
        half2=two,
        grid=grid,
        mask=mask.source,
        occupancy=mask.occupancy,
        unit=unit.source,
        unit_occupancy=unit.occupancy,
        point_group=unit.settings,
        region=None if region is None else ingest(region, run, "noise_region", executor, levels),
        sphere=sphere,
        near=near,
    )
    return inputs, unit
