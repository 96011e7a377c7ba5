"""What the commands of this package have in common: which texts to measure on, and the like."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ciphers.alphabet import ALPHABETS
from ciphers.corpora import BUILT_IN, SPLITS, Corpus, load_corpus
from decipher.commands import at_least

CORPORA = (BUILT_IN,)
ALPHABET = "letters"
LENGTHS = (16, 32, 64, 128, 256, 512)

SEVERAL = "An option that takes several values takes them after one another, or may be repeated."


def add_source_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which corpus to measure on."""
    parser.add_argument(
        "--corpus",
        metavar="CORPUS",
        nargs="+",
        action="extend",
        help="where the texts come from: an NLTK corpus, a file, a folder, a glob pattern, or "
        f"{BUILT_IN} (the default), the prose of Python's documentation",
    )


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which corpus to measure on, and which part of it."""
    add_source_option(parser)
    parser.add_argument(
        "--split",
        choices=[*SPLITS, "all"],
        default="test",
        help="the part of the corpus to use (default: %(default)s)",
    )


def add_text_options(
    parser: argparse.ArgumentParser, *, alphabet: str | None, ciphers: int
) -> None:
    """Add the options that say on which ciphertexts to measure, with what model and how fast.

    Args:
        parser: of the command.
        alphabet: the default of --alphabet; None is that of the models, or `ALPHABET`.
        ciphers: the default of --ciphers.
    """
    add_corpus_options(parser)
    parser.add_argument(
        "--alphabet",
        choices=list(ALPHABETS),
        default=alphabet,
        help="the symbols of the texts (default: "
        f"{alphabet or f'those of --model, or {ALPHABET}'})",
    )
    parser.add_argument(
        "--lengths",
        metavar="N",
        nargs="+",
        action="extend",
        type=at_least(1),
        help=f"symbols in a ciphertext (default: {' '.join(map(str, LENGTHS))})",
    )
    parser.add_argument(
        "--ciphers",
        metavar="N",
        type=at_least(1),
        default=ciphers,
        help="ciphertexts of each length (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same ciphertexts and results (default: %(default)s)",
    )
    parser.add_argument(
        "--ngram",
        metavar="NAME|PATH",
        help="the n-gram table to decipher with (default: the one shipped for the alphabet)",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=at_least(1),
        help="ciphertexts to work on at a time (default: one a core)",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where transformers run."""
    parser.add_argument(
        "--device",
        default="cpu",
        help="where the transformers run: cpu, cuda, mps, or auto (default: %(default)s)",
    )


def add_out_option(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the option that says where tables, records and figures go; `folder` is its default."""
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path(folder),
        help="where the tables (.csv), the records of how they were made (.json) and the figures "
        "(.png) go (default: %(default)s)",
    )


def read_corpus(sources: Sequence[str], split: str) -> Corpus:
    """The split of the corpus that `sources` name together.

    Raises:
        InputError: there is no such corpus.
    """
    corpus = load_corpus(sources[0] if len(sources) == 1 else sources)
    if split == "all":
        return corpus
    part: Corpus = getattr(corpus, split)
    return part
