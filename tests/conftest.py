"""What every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that not every checkout has beside it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("DISTRES_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; set DISTRES_SHARED to use it")
    return folder
