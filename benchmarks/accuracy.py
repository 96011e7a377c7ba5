"""How often the n-gram search is right, how long it takes and how much it reads, by length.

Letters without spaces, the shipped 5-grams, windows of the corpus's test split (left out of the
estimate), one core. Search failures are ciphertexts whose best key scores below the true one. The
targets stand beside what was measured.

The floor under the time is the number of table reads: each takes 2 bytes of the table and walks on
by 20 bytes of lists (what a read costs at best, `lookups.py` measures). `reads` counts those of the
walks and climbs; the seconds also hold the chains that give the marginals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from common import Report, benchmark_parser
from numpy.typing import ArrayLike

from analysis.curves import measure, summarise
from analysis.trials import Factory
from ciphers.alphabet import LETTERS
from ciphers.errors import InputError
from decipher.commands import at_least, run
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import Decipherer, KeyPosterior

LENGTHS = (32, 64, 128, 256, 512, 1024)
COLUMNS = {
    "length": "d",
    "ciphers": "d",
    "search_failure_rate": ".3%",
    "token_accuracy": ".4f",
    "exact_rate": ".1%",
    "seconds": ".4f",
    "seconds_median": ".4f",
    "starts": ".1f",
    "reads": ",.0f",
    "reads_per_second": ",.0f",
    "targets": "",
}


class Target(NamedTuple):
    """The most search failures, and the least token accuracy and share of exact solutions, that
    are wanted from a length on."""

    failures: float
    accuracy: float
    exact: float

    def check(self, row: Mapping[str, float]) -> str:
        """'reached', or what was missed and by what standard."""
        missed = []
        if row["search_failure_rate"] > self.failures:
            missed.append(f"failures <= {self.failures:g}")
        if row["token_accuracy"] < self.accuracy:
            missed.append(f"accuracy >= {self.accuracy:g}")
        if row["exact_rate"] < self.exact:
            missed.append(f"exact >= {self.exact:g}")
        return "missed: " + ", ".join(missed) if missed else "reached"


#: From each length on. The lengths below the first have none.
TARGETS = {
    32: Target(0.02, 0.42, 0.0),
    64: Target(0.01, 0.95, 0.0),
    128: Target(0.0, 0.995, 0.88),
    256: Target(0.0, 0.999, 0.97),
}


class Recorded:
    """A decipherer that keeps what it reports of its work."""

    def __init__(self, decipherer: Decipherer, infos: list[tuple[int, Mapping[str, Any]]]) -> None:
        self.decipherer = decipherer
        self.infos = infos

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`."""
        found = self.decipherer.posteriors(ciphertext, lengths)
        self.infos += [(n, p.info) for n, p in zip(lengths, found, strict=True)]
        return found


def recorded(model: NGramModel, infos: list[tuple[int, Mapping[str, Any]]]) -> Factory:
    """A factory of n-gram decipherers that keep (length, info) of each posterior in `infos`."""

    def make(*, rng: np.random.Generator) -> Decipherer:
        return Recorded(make_decipherer("ngram", model, rng=rng), infos)

    return make


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("accuracy", __doc__)
    parser.add_argument(
        "--lengths", type=at_least(1), nargs="+", default=list(LENGTHS), metavar="N"
    )
    parser.add_argument(
        "--ciphers", type=at_least(1), default=500, help="of each length (default: %(default)s)"
    )
    return run(lambda: _report(parser.parse_args(argv)), parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    if min(arguments.lengths) < 2:
        raise InputError("a length of 1 is what the search warms up on: take 2 or more")
    model = load_ngram("letters")
    report = Report(arguments, COLUMNS, model)
    for length in arguments.lengths:
        report.add(**_row(model, report, length, arguments))
    report.close()


def _row(
    model: NGramModel, report: Report, length: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    infos: list[tuple[int, Mapping[str, Any]]] = []
    frame = measure(
        {"ngram": recorded(model, infos)},
        report.corpus.test,
        LETTERS,
        [length],
        arguments.ciphers,
        arguments.seed,
        model=model,
        jobs=1,
    )
    # `measure` warms up on a single symbol, which is none of the ciphertexts.
    work = [info for n, info in infos if n == length]
    reads = sum(info["reads"] for info in work)
    row = {str(name): value for name, value in summarise(frame).iloc[0].items()}
    row["seconds_median"] = frame["seconds"].median()
    row["starts"] = np.mean([info["starts"] for info in work])
    row["reads"] = reads / len(work)
    row["reads_per_second"] = reads / frame["seconds"].sum()
    standards = [TARGETS[n] for n in sorted(TARGETS) if n <= length]
    row["targets"] = standards[-1].check(row) if standards else "none"
    return row


if __name__ == "__main__":
    sys.exit(main())
