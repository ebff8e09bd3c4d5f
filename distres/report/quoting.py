"""Names from files, made safe to stand in other programs' scripts."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from distres.errors import InputError


def relative_name(path: str | Path, directory: Path) -> str:
    """Return how a script in `directory` names a local file, with forward slashes.

    The result never starts with ``~`` or ``-`` and is never mistaken for an address: it starts
    with ``./`` or ``../`` unless the file lies on another drive.
    """
    relative = os.path.relpath(Path(path).resolve(), directory.resolve())
    posix = PurePosixPath(*Path(relative).parts)
    if posix.is_absolute() or posix.parts[:1] == ("..",):
        return str(posix)
    return f"./{posix}"


def chimerax_quote(name: str) -> str:
    """Quote a file name for a ChimeraX command.

    Between double quotes ChimeraX takes spaces, semicolons and single quotes as they are and knows
    no escapes for file names, so a name that holds a double quote or a control character (a line
    end would start another command) cannot be written.

    Raises
    ------
    InputError
        The name cannot be quoted.
    """
    bad = [c for c in name if c == '"' or unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")]
    if bad or not name:
        raise InputError(
            f"the file name {name!r} cannot be written into a ChimeraX script (quotes, line ends "
            "and control characters end a command there); rename the file"
        )
    return f'"{name}"'


def comment(text: str) -> str:
    """Make text safe to stand behind a comment sign: one line, no control characters."""
    kept = (" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join("".join(kept).split())
