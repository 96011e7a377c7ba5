"""How often the most probable key is proven to be the most probable, how fast, and how near the
proof comes where its time ends first.

For each order, an n-gram model is estimated from the counts of the shipped table, which holds
nothing of the test split. Each ciphertext (of the test split, each under a key of its own) is
deciphered by `AStarDecipherer` on one core; `seconds` includes the search for the key. The gap is
that of the ciphertexts that were not certified, nats. `true_is_best` is the share of the certified
ciphertexts whose true key is as probable as the best: where it is not, no search under this model
can find it but by luck.

The published peer is the A* of Corlett and Penn (ACL 2010), trigrams too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from common import Report, benchmark_parser
from tqdm import tqdm

from analysis.certificates import lower_order
from analysis.curves import TOLERANCE
from ciphers.alphabet import LETTERS
from ciphers.samples import Cryptogram, cryptograms
from decipher.commands import at_least, run
from decipher.exact.astar import AStarDecipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import KeyPosterior

COLUMNS = {
    "order": "d",
    "length": "d",
    "ciphers": "d",
    "certified": ".0%",
    "seconds_median": ".2f",
    "seconds_max": ".2f",
    "nodes_median": ".0f",
    "nodes_max": "d",
    "gap_mean": ".2f",
    "gap_max": ".2f",
    "true_is_best": ".0%",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark with the command-line arguments `argv` (default: the process's own
    arguments) and give its exit code."""
    parser = benchmark_parser("certificates", __doc__)
    for name, default, text in (
        ("--lengths", (50, 100, 150, 200, 300, 400, 600), "letters in a ciphertext"),
        ("--orders", (2, 3), "orders of the model"),
    ):
        parser.add_argument(
            name,
            type=at_least(1),
            nargs="+",
            default=list(default),
            metavar="N",
            help=f"{text} (default: {' '.join(map(str, default))})",
        )
    parser.add_argument(
        "--ciphers", type=at_least(1), default=20, help="of each length (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="for each ciphertext (default: %(default)s)"
    )
    return run(lambda: _report(parser.parse_args(argv)), parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    shipped = load_ngram("letters")
    report = Report(arguments, COLUMNS, shipped)
    for order in arguments.orders:
        model = lower_order(shipped, order)
        for length in arguments.lengths:
            rng = np.random.default_rng([arguments.seed, length])
            batch = cryptograms(report.corpus.test, LETTERS, length, arguments.ciphers, rng)
            _certified(batch[0], model, 1.0, 0)  # compilation, and tables that fill
            found = [
                _certified(cryptogram, model, arguments.seconds, arguments.seed)
                for cryptogram in tqdm(batch, f"{order}-grams {length}", len(batch), disable=None)
            ]
            report.add(order=order, length=length, **_row(found, list(batch), model))
    report.close()


def _certified(
    cryptogram: Cryptogram, model: NGramModel, seconds: float, seed: int
) -> KeyPosterior:
    decipherer = AStarDecipherer(
        model, np.random.default_rng(seed), nodes=sys.maxsize, seconds=seconds
    )
    return decipherer.posteriors(cryptogram.ciphertext, [len(cryptogram.ciphertext)])[0]


def _row(
    found: list[KeyPosterior], batch: list[Cryptogram], model: NGramModel
) -> dict[str, float | int]:
    certified = np.array([p.info["certified"] for p in found])
    seconds = [p.info["seconds"] for p in found]
    nodes = [p.info["nodes"] for p in found]
    gaps = np.array([p.info["gap"] for p in found])[~certified]
    best = np.array([p.map_log_prob for p in found])
    true = np.array([model.log_prob(one.plaintext).sum() for one in batch])
    return {
        "ciphers": len(found),
        "certified": certified.mean(),
        "seconds_median": np.median(seconds),
        "seconds_max": max(seconds),
        "nodes_median": np.median(nodes),
        "nodes_max": max(nodes),
        "gap_mean": gaps.mean() if len(gaps) else np.nan,
        "gap_max": gaps.max() if len(gaps) else np.nan,
        "true_is_best": (true >= best - TOLERANCE)[certified].mean() if certified.any() else np.nan,
    }


if __name__ == "__main__":
    sys.exit(main())
