"""The n-gram search beside subbreaker, cipher by cipher on the same ciphertexts.

Both take turns, so that a change in the machine's speed hits both alike; subbreaker, in an
interpreter of its own, measures its seconds itself, so that neither start-up nor pipes count. It
runs with its default settings and its own English quadgrams; with --same-corpus it counts quadgrams
from the training split of the corpus instead, which tells the search's part from the text's.

Ratios are subbreaker's seconds over ours. The floor under a time is the work done: `reads` of our
table, and `peer_keys` keys tried by subbreaker, each a look-up for every quadgram that it changes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import Report, Worker, benchmark_parser, peer_option
from tqdm import tqdm

from ciphers.alphabet import LETTERS
from ciphers.corpora import Corpus
from ciphers.samples import Cryptogram, cryptograms
from decipher.commands import at_least, run
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram

LENGTHS = (32, 64, 128, 256)
COLUMNS = {
    "length": "d",
    "ciphers": "d",
    "accuracy": ".3f",
    "peer_accuracy": ".3f",
    "exact": ".1%",
    "peer_exact": ".1%",
    "seconds": ".4f",
    "peer_seconds": ".4f",
    "ratio_of_means": ".1f",
    "ratio_of_medians": ".1f",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("versus_subbreaker", __doc__)
    peer_option(parser)
    parser.add_argument(
        "--lengths", type=at_least(1), nargs="+", default=list(LENGTHS), metavar="N"
    )
    parser.add_argument(
        "--ciphers",
        type=at_least(1),
        nargs="+",
        default=[20],
        metavar="N",
        help="of each length; one number for all, or one for each (default: 20)",
    )
    parser.add_argument(
        "--budget-seconds",
        type=float,
        default=300,
        metavar="S",
        help="begin no further cipher of a length after so long (default: %(default)s)",
    )
    parser.add_argument(
        "--same-corpus",
        action="store_true",
        help="give subbreaker quadgrams of the corpus's training split",
    )

    def report() -> None:
        arguments = parser.parse_args(argv)
        if len(arguments.ciphers) not in (1, len(arguments.lengths)):
            parser.error("give one number of --ciphers, or one for each of --lengths")
        _report(arguments)

    return run(report, parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    model = load_ngram("letters")
    report = Report(arguments, COLUMNS, model)
    options = [str(arguments.seed)]
    with ExitStack() as stack:
        if arguments.same_corpus:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options.append(str(_write_letters(report.corpus.train, Path(folder) / "train.txt")))
        peer = stack.enter_context(Worker(arguments.peer_python, "subbreaker_worker.py", options))
        counts = arguments.ciphers * (len(arguments.lengths) // len(arguments.ciphers))
        rng = np.random.default_rng([arguments.seed, 128])
        for warm_up in cryptograms(report.corpus.test, LETTERS, 128, 1, rng):
            report.run["peer"] = {"subbreaker": _pair(warm_up, model, rng, peer)["version"]}
        for length, count in zip(arguments.lengths, counts, strict=True):
            rng = np.random.default_rng([arguments.seed, length])
            batch = cryptograms(report.corpus.test, LETTERS, length, count, rng)
            pairs = []
            end = time.monotonic() + arguments.budget_seconds
            for cryptogram in tqdm(batch, f"{length} letters", len(batch), disable=None):
                if time.monotonic() > end:
                    break
                pairs.append(_pair(cryptogram, model, rng, peer))
            if pairs:
                report.add(length=length, planned=count, **_row(pd.DataFrame(pairs)))
                if len(pairs) < count:
                    print(f"  ({len(pairs)} of {count} in {arguments.budget_seconds:g} seconds)")
    report.close()


def _pair(
    cryptogram: Cryptogram, model: NGramModel, rng: np.random.Generator, peer: Worker
) -> dict[str, Any]:
    """Both on one ciphertext."""
    start = time.perf_counter()
    decipherer = make_decipherer("ngram", model, rng=rng)
    (posterior,) = decipherer.posteriors(cryptogram.ciphertext, [len(cryptogram.ciphertext)])
    seconds = time.perf_counter() - start
    right = posterior.decode(cryptogram.ciphertext).ids == cryptogram.plaintext
    answer = peer.ask(LETTERS.decode(cryptogram.ciphertext))
    peer_right = LETTERS.encode(answer["plaintext"]) == cryptogram.plaintext
    return {
        "accuracy": right.mean(),
        "exact": right.all(),
        "seconds": seconds,
        "reads": posterior.info["reads"],
        "peer_accuracy": peer_right.mean(),
        "peer_exact": peer_right.all(),
        "peer_seconds": answer["seconds"],
        "peer_keys": answer["keys"],
        "version": answer["version"],
    }


def _row(pairs: pd.DataFrame) -> dict[str, Any]:
    means = pairs.drop(columns="version").mean()
    medians = pairs[["seconds", "peer_seconds"]].median()
    return {
        "ciphers": len(pairs),
        **{str(name): value for name, value in means.items()},
        **{f"{name}_median": seconds for name, seconds in medians.items()},
        "ratio_of_means": means["peer_seconds"] / means["seconds"],
        "ratio_of_medians": medians["peer_seconds"] / medians["seconds"],
    }


def _write_letters(corpus: Corpus, path: Path) -> Path:
    """The letters of each document on a line, so that both sides count the same text."""
    lines = (LETTERS.decode(ids) for ids in corpus.encode(LETTERS))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
