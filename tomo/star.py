"""STAR files."""

from pathlib import Path

from gemmi import cif

from distres.errors import InputError


def read_star(path: Path) -> cif.Document:
    """Read a STAR file.

    Raises
    ------
    InputError
        It is missing, or no STAR file.
    """
    try:
        return cif.read(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a STAR file: {error}") from error
