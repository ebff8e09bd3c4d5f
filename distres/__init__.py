"""Local resolution of cryo-EM maps and tomograms of any size, on any number of computers.

>>> import distres
>>> result = distres.localfsc("half_A.mrc", "half_B.mrc")   # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distres.io.dataarray import open_dataarray
    from distres.methods.api import fsc, local_fsc_at, localfsc, open_run
    from distres.methods.api_boxes import blocres, relion_locres, resmap
    from distres.methods.api_deepres import deepres, oversharp
    from distres.methods.api_directional import monodir

__all__ = [
    "blocres",
    "deepres",
    "fsc",
    "local_fsc_at",
    "localfsc",
    "monodir",
    "open_dataarray",
    "open_run",
    "oversharp",
    "relion_locres",
    "resmap",
]

_HOMES = {
    "blocres": "distres.methods.api_boxes",
    "deepres": "distres.methods.api_deepres",
    "fsc": "distres.methods.api",
    "local_fsc_at": "distres.methods.api",
    "localfsc": "distres.methods.api",
    "monodir": "distres.methods.api_directional",
    "open_dataarray": "distres.io.dataarray",
    "open_run": "distres.methods.api",
    "oversharp": "distres.methods.api_deepres",
    "relion_locres": "distres.methods.api_boxes",
    "resmap": "distres.methods.api_boxes",
}


def __getattr__(name: str) -> object:
    # Imported on first use, so that `import distres` and `distres --help` start at once.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'distres' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
