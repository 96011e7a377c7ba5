"""How the constants of `decipher/search.py` were chosen: which finds the true key most often in the
same time.

Each setting searches the same ciphertexts (of the validation split, so that the test split stays
unseen) until it meets a key that scores no lower than the true one, or its seconds are over. A
setting's failures are the ciphertexts for which it never did; `seconds_per_success` is the time
spent in all, on failures too, over the successes. Settings take turns cipher by cipher. By default
one constant is varied at a time around the present ones; --cross tries all combinations.

The settings replace the constants of the module `decipher.search` for the length of a call, so what
runs is the search itself.

    order        WALK_ORDER: the n-grams that the walk reads
    temperature  factor on walk_temperature
    swaps        factor on walk_swaps, tried before each climb
    climbs       factor on climbs_per_start
    polish       CLIMBS_PER_POLISH: climbs for each walk under the full model (0: no such walks)
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from common import Report, benchmark_parser
from tqdm import tqdm

from analysis.curves import TOLERANCE
from analysis.intervals import wilson_interval
from ciphers.alphabet import LETTERS
from ciphers.samples import Cryptogram, cryptograms
from decipher import search
from decipher.commands import at_least, run
from decipher.ngram import NGramModel, load_ngram
from decipher.sampling.spaces import KeySpace

COLUMNS = {
    "length": "d",
    "order": "d",
    "temperature": ".2f",
    "swaps": ".2f",
    "climbs": ".2f",
    "polish": "d",
    "ciphers": "d",
    "failure_rate": ".1%",
    "failure_rate_low": ".1%",
    "failure_rate_high": ".1%",
    "seconds_per_success": ".4f",
    "starts": ".1f",
    "reads": ",.0f",
}


class Setting(NamedTuple):
    """One choice of the constants; `temperature`, `swaps` and `climbs` are factors on the present
    ones."""

    order: int = search.WALK_ORDER
    temperature: float = 1.0
    swaps: float = 1.0
    climbs: float = 1.0
    polish: int = search.CLIMBS_PER_POLISH


class Outcome(NamedTuple):
    """What a search of one ciphertext came to."""

    failed: bool
    seconds: float
    starts: int
    reads: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("schedule", __doc__)

    def several(name: str, kind: type, default: Sequence[float], text: str) -> None:
        parser.add_argument(
            name,
            type=kind,
            nargs="+",
            default=list(default),
            metavar="N",
            help=f"{text} (default: {' '.join(map(str, default))})",
        )

    several("--lengths", int, (32, 64, 128), "letters in a ciphertext")
    several("--order", int, (3, 4, 5), "orders of the walk")
    several("--temperature", float, (0.8, 1.25), "factors on its temperature")
    several("--swaps", float, (0.33, 3.0), "factors on the swaps before a climb")
    several("--climbs", float, (0.5, 2.0), "factors on the climbs of a start")
    several("--polish", int, (0, 3), "climbs for each walk under the full model, 0 for none")
    parser.add_argument("--cross", action="store_true", help="try all combinations")
    parser.add_argument(
        "--ciphers", type=at_least(1), default=40, help="of each length (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.5,
        help="for each ciphertext and setting (default: %(default)s)",
    )
    return run(lambda: _report(parser.parse_args(argv)), parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    model = load_ngram("letters")
    report = Report(arguments, COLUMNS, model)
    settings = _settings(arguments)
    for length in arguments.lengths:
        rng = np.random.default_rng([arguments.seed, length])
        batch = cryptograms(report.corpus.validation, LETTERS, length, arguments.ciphers, rng)
        _outcome(batch[0], model, settings[0], 0.0, rng)  # compilation, and caches that fill
        outcomes: dict[Setting, list[Outcome]] = {setting: [] for setting in settings}
        for number, cryptogram in enumerate(tqdm(batch, f"{length}", len(batch), disable=None)):
            for setting in settings:
                rng = np.random.default_rng([arguments.seed, length, number])
                found = _outcome(cryptogram, model, setting, arguments.seconds, rng)
                outcomes[setting].append(found)
        for setting, results in outcomes.items():
            failed = sum(outcome.failed for outcome in results)
            low, high = wilson_interval(failed, len(results))
            seconds = sum(outcome.seconds for outcome in results)
            report.add(
                length=length,
                **setting._asdict(),
                ciphers=len(results),
                failure_rate=failed / len(results),
                failure_rate_low=low,
                failure_rate_high=high,
                seconds_per_success=seconds / (len(results) - failed or np.nan),
                starts=np.mean([outcome.starts for outcome in results]),
                reads=np.mean([outcome.reads for outcome in results]),
            )
    report.close()


def _settings(arguments: argparse.Namespace) -> list[Setting]:
    """The settings to try, each once, the present one first."""
    present = Setting()
    tried = {name: [getattr(present, name), *getattr(arguments, name)] for name in Setting._fields}
    if arguments.cross:
        chosen = [Setting(*values) for values in itertools.product(*tried.values())]
    else:
        chosen = [present._replace(**{name: v}) for name, values in tried.items() for v in values]
    return list(dict.fromkeys(chosen))


@contextmanager
def _constants(setting: Setting) -> Iterator[None]:
    """`decipher.search` under the constants of `setting`."""
    temperature, swaps = search.walk_temperature, search.walk_swaps
    climbs = search.climbs_per_start
    with patch.multiple(
        search,
        WALK_ORDER=setting.order,
        CLIMBS_PER_POLISH=setting.polish or sys.maxsize,
        walk_temperature=lambda length: setting.temperature * temperature(length),
        walk_swaps=lambda length: round(setting.swaps * swaps(length)),
        climbs_per_start=lambda length: max(1, round(setting.climbs * climbs(length))),
    ):
        yield


def _outcome(
    cryptogram: Cryptogram,
    model: NGramModel,
    setting: Setting,
    seconds: float,
    rng: np.random.Generator,
) -> Outcome:
    """Search until the true key's score is met or the time is over, one start at least."""
    assert cryptogram.plaintext is not None
    true = model.log_prob(cryptogram.plaintext).sum()
    with _constants(setting):
        begin = time.perf_counter()
        one = search.Search(KeySpace(model, cryptogram.ciphertext, {}))
        while True:
            key = one.best(*one.maxima(sys.maxsize, one.starts + 1, rng))
            failed = model.log_prob(key[cryptogram.ciphertext]).sum() < true - TOLERANCE
            spent = time.perf_counter() - begin
            if not failed or spent >= seconds:
                return Outcome(bool(failed), spent, one.starts, one.reads)


if __name__ == "__main__":
    sys.exit(main())
