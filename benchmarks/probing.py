"""Probing speed: many ciphertexts at every length, the probe's own training included.

Stages, in the order in which data flows:

    read      hidden states of the texts to fit on and of those to decipher, one pass for each text
    fit       a linear probe, its ridge by cross-validation, and the pooling of its answers
    answer    what the probe says of every symbol, and a key posterior after each of the lengths
    all       the three together; the goal for 1,000 texts of 512 symbols is 5 minutes on 2 cores
    one fit   a linear probe with the ridge that was chosen, and nothing to choose: what the peer
              does too

The floor of `read` is what the machine could do: the forward pass takes a third of the floating
point operations of training (`decipher.lexinvariant.speed`), and all of them could be matrix
products at the speed that a large one reaches. `share` is the floor over what was needed.

The peer of `one fit` is scikit-learn's `LogisticRegression` (L-BFGS) with the same ridge on the
same standardised states, in the same process and with the same threads, each with its own default
for when to stop. `ratio` is the peer's time over ours; `loss` and `peer_loss`, nats a symbol of
texts that were not fitted to, show that both arrive.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from common import Report, benchmark_parser
from sklearn import __version__ as sklearn_version
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from analysis.options import LENGTHS
from analysis.probes import LinearProbe
from analysis.probing import accuracy_frame, read_by_probe
from analysis.readers import fit_decipherer
from analysis.states import read_states, torch_generator
from ciphers.errors import InputError
from ciphers.samples import cryptograms
from decipher.commands import at_least, run
from decipher.lexinvariant.checkpoint import load
from decipher.lexinvariant.speed import flops_per_symbol, peak_flops

T = TypeVar("T")

COLUMNS = {
    "stage": "",
    "texts": "d",
    "seconds": ".1f",
    "floor_seconds": ".1f",
    "share": ".1%",
    "peer_seconds": ".1f",
    "ratio": ".2f",
    "loss": ".4f",
    "peer_loss": ".4f",
    "goal": "",
}
GOAL_SECONDS = 300.0
#: What the goal is said of.
GOAL_TEXTS = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = benchmark_parser("probing", __doc__)
    whole = at_least(1)
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        default="letters-space-lexinvariant",
        help="the transformer (default: %(default)s)",
    )
    parser.add_argument(
        "--ciphers", type=whole, default=GOAL_TEXTS, help="to decipher (default: %(default)s)"
    )
    parser.add_argument(
        "--probe-texts", type=at_least(5), default=400, help="to fit on (default: %(default)s)"
    )
    parser.add_argument(
        "--lengths", type=whole, nargs="+", default=list(LENGTHS), metavar="N",
        help="after which a key is asked for; the longest is that of the texts "
        f"(default: {' '.join(map(str, LENGTHS))})",
    )  # fmt: skip
    parser.add_argument("--threads", type=whole, default=2, help="(default: %(default)s)")
    return run(lambda: _measure(parser.parse_args(argv)), parser.prog)


def _measure(arguments: argparse.Namespace) -> None:
    model, longest = load(arguments.model), max(arguments.lengths)
    if longest > model.context:
        raise InputError(
            f"{longest} symbols are beyond the context of {model.context} of {arguments.model}: "
            "give lengths up to that"
        )
    report = Report(arguments, COLUMNS)
    report.run["versions"] |= {"torch": torch.__version__, "scikit-learn": sklearn_version}
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(arguments.seed)
    counts = arguments.probe_texts, arguments.ciphers
    batches = [
        cryptograms(split, model.alphabet, longest, count, rng)
        for split, count in zip((report.corpus.train, report.corpus.test), counts, strict=True)
    ]
    with threadpool_limits(arguments.threads):
        reading, (fitted, measured) = _clock(
            lambda: [read_states(model, batch, torch_generator(model, rng)) for batch in batches]
        )
        fitting, reader = _clock(lambda: fit_decipherer(model, LinearProbe(), fitted, -1, rng))
        answering, readings = _clock(
            lambda: read_by_probe("linear", reader, measured, arguments.lengths)
        )
        flops = sum(counts) * longest * flops_per_symbol(model, longest) / 3
        floor = flops / peak_flops(model.device, torch.float32)
        _add(report, "read", sum(counts), reading, floor_seconds=floor, share=floor / reading)
        _add(report, "fit", counts[0], fitting)
        _add(report, "answer", counts[1], answering)
        whole = reading + fitting + answering
        _add(report, "all", sum(counts), whole, goal=_goal(whole, counts[1]))
        split = counts[0] * 4 // 5
        inside, outside = fitted.take(slice(split)), fitted.take(slice(split, None))
        ridge = reader.probe.ridge_
        seconds, probe = _clock(
            lambda: LinearProbe(ridges=ridge).fit(inside.X, inside.y, inside.groups)
        )
        mean, scale = inside.X.mean(dim=0), inside.X.std(dim=0, correction=0)
        X, Z = (((states.X - mean) / scale).numpy() for states in (inside, outside))
        peer = LogisticRegression(C=1 / (len(X) * ridge), max_iter=1000)
        peer_seconds, _ = _clock(lambda: peer.fit(X, inside.y))
    _add(
        report,
        "one fit",
        split,
        seconds,
        peer_seconds=peer_seconds,
        ratio=peer_seconds / seconds,
        loss=_loss(probe.classes_, probe.predict_proba(outside.X), outside.y),
        peer_loss=_loss(peer.classes_, peer.predict_proba(Z), outside.y),
    )
    accuracy = accuracy_frame(readings).set_index("length")["token_accuracy"]
    print(", ".join(f"{share:.3f} right at {length}" for length, share in accuracy.items()))
    report.close()


def _clock(task: Callable[[], T]) -> tuple[float, T]:
    """The seconds that `task` takes, and what it gives."""
    start = time.perf_counter()
    result = task()
    return time.perf_counter() - start, result


def _add(report: Report, stage: str, texts: int, seconds: float, **known: float | str) -> None:
    """A row of the report; what a stage does not have is not a number."""
    row = {"stage": stage, "texts": texts, "seconds": seconds, "goal": "none"} | known
    report.add(**{name: row.get(name, math.nan) for name in COLUMNS})


def _goal(seconds: float, texts: int) -> str:
    if texts < GOAL_TEXTS:
        return "none"
    return "reached" if seconds <= GOAL_SECONDS else f"missed: {GOAL_SECONDS:g} s"


def _loss(classes: np.ndarray, proba: np.ndarray, truth: np.ndarray) -> float:
    """Mean -log p of the truth, nats, over symbols of the classes that were met."""
    met = np.isin(truth, classes)
    return float(log_loss(truth[met], proba[met], labels=classes))


if __name__ == "__main__":
    sys.exit(main())
