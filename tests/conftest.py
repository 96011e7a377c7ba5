"""Fixtures for the data that may lie beside the project; tests that need it skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# An example's time is no property of the code: the machine may be busy, the first call compiles.
settings.register_profile("toolkit", deadline=None)
settings.load_profile("toolkit")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data beside the repository, or the one that DECIPHER_SHARED names."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DECIPHER_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set DECIPHER_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def novels(shared: Path) -> Path:
    """The folder of novels in plain text."""
    folder = shared / "corpora" / "novels"
    if not folder.is_dir():
        pytest.skip(f"no novels at {folder}")
    return folder


@pytest.fixture
def nltk_data(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of NLTK corpora; NLTK looks there, and there only, during the test."""
    folder = shared / "nltk_data"
    if not folder.is_dir():
        pytest.skip(f"no NLTK corpora at {folder}")
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    return folder
