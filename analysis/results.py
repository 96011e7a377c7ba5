"""Tables on disk, each with a record of how it was made."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.files import atomic_write
from decipher.ngram import NGramModel

PACKAGES = ("bayesian-decipher", "numpy", "scipy", "numba", "pandas")


def describe_run(
    arguments: Mapping[str, Any], seed: int, corpus: Corpus, model: NGramModel | None = None
) -> dict[str, Any]:
    """What another person needs to make the same numbers again, as JSON can hold it.

    Args:
        arguments: what the measurement was called with, by name.
        seed: of all its random numbers.
        corpus: where the plaintexts came from, by name and hash.
        model: the n-gram model, by the hash and the provenance of its table.
    """
    table = model and {
        "alphabet": model.alphabet.symbols,
        "order": model.order,
        "hash": model.hash,
        "provenance": dict(model.provenance),
    }
    return {
        "seed": seed,
        "arguments": dict(arguments),
        "corpus": {"name": corpus.name, "hash": corpus.hash},
        "ngram": table,
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
    }


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], run: Mapping[str, Any]) -> Path:
    """Write `frame` as CSV, and beside it `run` as JSON under the same name but for the suffix.

    The header is the first line, numbers have up to ten significant digits, what is not a number is
    left empty. A run that fails leaves the files that were there before as they were.

    Args:
        frame: the table; its index is left out.
        path: the CSV file.
        run: what `describe_run` gives.

    Returns:
        The path of the JSON file.

    Raises:
        InputError: a file cannot be written, or `path` does not name a CSV file.
    """
    record = record_path(path)
    with atomic_write(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
    with atomic_write(record) as temporary:
        text = json.dumps(run, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return record


def record_path(path: str | os.PathLike[str]) -> Path:
    """The path of the JSON file that belongs to the CSV file at `path`.

    Raises:
        InputError: `path` does not name a CSV file.
    """
    if Path(path).suffix.lower() != ".csv":
        raise InputError(f"cannot write a table to {str(path)!r}: give a name that ends in .csv")
    return Path(path).with_suffix(".json")


def check_outputs(folder: Path, tables: Iterable[str], pictures: Iterable[str]) -> None:
    """`check_writable` for all that a study leaves in a folder: tables, their records, and figures.

    Args:
        folder: where they will go.
        tables: names of CSV files, without the suffix.
        pictures: names of PNG files, likewise.

    Raises:
        InputError: one of them cannot be written.
    """
    for table in tables:
        path = folder / f"{table}.csv"
        check_writable(path)
        check_writable(record_path(path))
    for picture in pictures:
        check_writable(folder / f"{picture}.png")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before the long work whether `atomic_write` will be able to write `path`.

    Raises:
        InputError: it will not.
    """
    with suppress(_Discard), atomic_write(path):
        raise _Discard


class _Discard(Exception):  # noqa: N818 (not an error: it ends an atomic write that was a trial)
    pass


def _version(package: str) -> str | None:
    """The version of an installed package; None where it runs from its sources."""
    with suppress(PackageNotFoundError):
        return version(package)
    return None
