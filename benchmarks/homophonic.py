"""How well homophonic ciphers are read, what the posterior says of it, and how long that takes.

Letters without spaces, the shipped 5-grams, windows of one split of the corpus, each under a random
key whose cipher symbols are dealt out by English letter frequencies. Homophones are used at random,
as the model has it, or in turn, as it has not. 408 letters in 54 symbols are the sizes of the
Zodiac killer's first cipher.

`read` is the share of ciphers of which at least 95% of the letters are right by the MAP key, wanted
for 9 of 10 at 408 letters in 54 symbols. `expected` is the accuracy that the posterior promises,
to be held against `accuracy`. `truth_above` counts the ciphers whose true key is more probable than
the best one found: there the sampler failed, and not the model. Seconds are of one core's work
(processor time): a goal of 30.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import Report, benchmark_parser

from ciphers.alphabet import LETTERS
from ciphers.corpora import Corpus
from ciphers.homophonic import HomophonicKey
from ciphers.samples import cryptograms
from decipher.commands import at_least, run
from decipher.ngram import NGramModel, load_ngram
from decipher.sampling.homophonic import MOVES, PARTICLES, HomophonicDecipherer, HomophonicSpace

COLUMNS = {
    "length": "d",
    "symbols": "d",
    "choice": "",
    "ciphers": "d",
    "read": ".0%",
    "accuracy": ".4f",
    "marginal_accuracy": ".4f",
    "expected": ".4f",
    "truth_above": "d",
    "error": ".2f",
    "islands": ".1f",
    "seconds": ".1f",
    "seconds_max": ".1f",
}
READ = 0.95


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("homophonic", __doc__)
    parser.add_argument(
        "--sizes",
        type=at_least(1),
        nargs="+",
        default=[408, 54],
        metavar="N",
        help="length and symbols, in pairs (default: 408 54)",
    )
    parser.add_argument("--ciphers", type=at_least(1), default=10, help="(default: %(default)s)")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--particles", type=at_least(2), default=PARTICLES)
    parser.add_argument("--moves", type=at_least(1), default=MOVES)

    def report() -> None:
        arguments = parser.parse_args(argv)
        if len(arguments.sizes) % 2:
            parser.error("--sizes takes pairs: a length and a number of symbols")
        _report(arguments)

    return run(report, parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    model = load_ngram("letters")
    report = Report(arguments, COLUMNS, model)
    texts: Corpus = getattr(report.corpus, arguments.split)
    _decipher(model, np.arange(26), 26, arguments)  # compiles
    for length, symbols in zip(arguments.sizes[::2], arguments.sizes[1::2], strict=True):
        for choice in ("uniform", "cyclic"):
            report.add(**_row(model, texts, length, symbols, choice, arguments))
    report.close()


def _row(
    model: NGramModel,
    texts: Corpus,
    length: int,
    symbols: int,
    choice: str,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    rng = np.random.default_rng(arguments.seed)
    batch = cryptograms(texts, LETTERS, length, arguments.ciphers, rng)
    found = []
    for plain in batch.plaintext:
        key = HomophonicKey.random(LETTERS, symbols, rng)
        cipher = key.encrypt(plain, rng, "cyclic" if choice == "cyclic" else "uniform")
        start = time.process_time()
        p = _decipher(model, cipher, symbols, arguments)
        seconds = time.process_time() - start
        space = HomophonicSpace(model, cipher, symbols, {})
        best, truth = space.log_joint(np.stack([p.map_key.mapping, key.mapping]))
        found.append(
            {
                "accuracy": (p.decode(cipher).ids == plain).mean(),
                "marginal_accuracy": (p.decode(cipher, "marginal").ids == plain).mean(),
                "expected": p.expected_accuracy(cipher),
                "truth_above": truth > best + 1e-9,
                "error": p.info["log_evidence_error"],
                "islands": p.info["islands"],
                "seconds": seconds,
            }
        )
    column = {name: np.array([row[name] for row in found]) for name in found[0]}
    row: dict[str, Any] = {name: float(values.mean()) for name, values in column.items()}
    return row | {
        "length": length,
        "symbols": symbols,
        "choice": choice,
        "ciphers": len(found),
        "read": float((column["accuracy"] >= READ).mean()),
        "truth_above": int(column["truth_above"].sum()),
        "seconds_max": float(column["seconds"].max()),
    }


def _decipher(model: NGramModel, cipher: Any, symbols: int, arguments: argparse.Namespace) -> Any:
    decipherer = HomophonicDecipherer(
        model,
        np.random.default_rng(arguments.seed),
        symbols,
        particles=arguments.particles,
        moves=arguments.moves,
    )
    return decipherer.posteriors(cipher, [len(cipher)])[0]


if __name__ == "__main__":
    sys.exit(main())
