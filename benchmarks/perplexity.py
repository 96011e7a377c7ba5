"""Our modified Kneser-Ney beside KenLM's: perplexity, estimation and loading.

Both estimate from the training split of the corpus and score the test split, the same positions:
all but the first n - 1 symbols of each document, so that no start of a text plays a part. KenLM's
`lmplz` is looked for on the PATH or given by --lmplz (docs/benchmarks.md tells how to build it);
its model is scored by the package `kenlm` of the peers' environment. Without `lmplz` the peer is
NLTK's interpolated Kneser-Ney (one fixed discount), at order 3 and on a small part of the text,
since it is slow; times are then ours alone.

Times, in seconds: `estimate` goes from text in memory to a model, ours with the encoding of the
text, KenLM's from symbols in a file, already apart, to an ARPA file. `load` is a model ready to
score in a fresh process beyond its imports: ours the shipped table, and as `load dense` with the
16-bit table that the search reads; KenLM's the ARPA file (its binary files are mapped, and load
faster). The two take turns; times are medians, ratios KenLM's over ours. For perplexities the ratio
is ours over the peer's, wanted within 1 % of KenLM's.

The floors: estimating reads each symbol once for each order, and a dense table writes 2 bytes for
each of V + V^2 + ... + V^n scores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import Report, Worker, benchmark_parser, peer_option

from ciphers.alphabet import ALPHABETS, Alphabet, Ids, get_alphabet
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from decipher.commands import at_least, run
from decipher.ngram import SHIPPED, NGramModel, load_ngram

COLUMNS = {
    "what": "",
    "alphabet": "",
    "order": "d",
    "size": "",
    "ours": ".4f",
    "peer": "",
    "theirs": ".4f",
    "ratio": ".4f",
    "goal": "",
}
NLTK_ORDER = 3
TOLERANCE = 0.01
ESTIMATE_GOAL = 60 / 70  # seconds for a megabyte
LOAD_GOAL = 0.5
LOAD = """
import json, sys, time
from decipher.ngram import load_ngram
start = time.perf_counter()
model = load_ngram(sys.argv[1])
loaded = time.perf_counter()
model.quantised
print(json.dumps([loaded - start, time.perf_counter() - start]))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("perplexity", __doc__)
    peer_option(parser)
    parser.add_argument("--lmplz", metavar="PATH", help="KenLM's estimator (default: on the PATH)")
    parser.add_argument("--alphabet", choices=list(ALPHABETS), default="letters")
    parser.add_argument("--order", type=at_least(1), default=5, help="(default: %(default)s)")
    parser.add_argument(
        "--symbols",
        type=at_least(1),
        help="the most symbols of training text (default: all; for NLTK 200,000)",
    )
    parser.add_argument(
        "--held-out",
        type=at_least(1),
        metavar="N",
        help="the most symbols to score (default: all; for NLTK 2,000)",
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=3, help="of each time (default: %(default)s)"
    )
    return run(lambda: _report(parser.parse_args(argv)), parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    report = Report(arguments, COLUMNS)
    alphabet = get_alphabet(arguments.alphabet)
    lmplz = shutil.which(arguments.lmplz or "lmplz")
    if lmplz:
        with tempfile.TemporaryDirectory() as folder:
            _against_kenlm(report, alphabet, arguments, lmplz, Path(folder))
    elif arguments.lmplz:
        raise InputError(f"there is no program {arguments.lmplz}: give the path of KenLM's lmplz")
    else:
        _against_nltk(report, alphabet, arguments)
    report.close()


def _against_kenlm(
    report: Report, alphabet: Alphabet, arguments: argparse.Namespace, lmplz: str, folder: Path
) -> None:
    order = arguments.order
    texts = _up_to(report.corpus.train, arguments.symbols)
    held_out = _encoded(_up_to(report.corpus.test, arguments.held_out), alphabet)
    train_file = _write(_encoded(texts, alphabet), alphabet, folder / "train.txt")
    held_out_file = _write(held_out, alphabet, folder / "held-out.txt")
    arpa = folder / "model.arpa"

    ours, theirs = [], []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        model = NGramModel.estimate(_encoded(texts, alphabet), alphabet, order)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        _run_lmplz(lmplz, order, train_file, arpa)
        theirs.append(time.perf_counter() - start)

    worker = partial(Worker, arguments.peer_python, "kenlm_worker.py")
    with worker() as peer:
        answer = peer.ask({"model": str(arpa), "text": str(held_out_file), "skip": order - 1})
    report.run["peer"] = {"kenlm": answer["version"]}
    perplexity, symbols = _perplexity(model, held_out)
    assert symbols == answer["symbols"]
    kenlm = float(np.exp(-answer["log_prob"] / symbols))
    close = abs(perplexity / kenlm - 1) <= TOLERANCE
    report.add(
        what="perplexity",
        alphabet=alphabet.name,
        order=order,
        size=f"{symbols:,} symbols",
        ours=perplexity,
        peer="kenlm",
        theirs=kenlm,
        ratio=perplexity / kenlm,
        goal="reached" if close else f"missed: within {TOLERANCE:.0%}",
    )
    _add_estimate(report, order, texts, ours, theirs)

    def load_kenlm() -> float:
        with worker() as peer:
            return float(peer.ask({"model": str(arpa)})["load_seconds"])

    _add_loads(report, arguments.repeats, load_kenlm)


def _against_nltk(report: Report, alphabet: Alphabet, arguments: argparse.Namespace) -> None:
    train = _encoded(_up_to(report.corpus.train, arguments.symbols or 200_000), alphabet)
    held_out = _encoded(_up_to(report.corpus.test, arguments.held_out or 2_000), alphabet)
    ours, symbols = _perplexity(NGramModel.estimate(train, alphabet, NLTK_ORDER), held_out)
    theirs = _nltk_perplexity(train, held_out, alphabet)
    report.add(
        what="perplexity",
        alphabet=alphabet.name,
        order=NLTK_ORDER,
        size=f"{symbols:,} symbols",
        ours=ours,
        peer="nltk",
        theirs=theirs,
        ratio=ours / theirs,
        goal="none (other discounts)",
    )
    texts = _up_to(report.corpus.train, arguments.symbols)
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        NGramModel.estimate(_encoded(texts, alphabet), alphabet, arguments.order)
        seconds.append(time.perf_counter() - start)
    _add_estimate(report, arguments.order, texts, seconds, [])
    _add_loads(report, arguments.repeats, None)


def _add_estimate(
    report: Report, order: int, texts: list[str], ours: list[float], theirs: list[float]
) -> None:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    reached = median(ours) <= ESTIMATE_GOAL * megabytes
    report.add(
        what="estimate",
        alphabet=report.run["arguments"]["alphabet"],
        order=order,
        size=f"{megabytes:.1f} MB",
        ours=median(ours),
        **_times(ours, theirs),
        goal="reached" if reached else "missed: 70 MB in a minute",
    )


def _add_loads(report: Report, repeats: int, load_kenlm: Any) -> None:
    """The shipped tables; `load_kenlm` loads KenLM's model and gives the seconds (None: no peer).

    KenLM's model is the one just estimated, so its ratio is given beside the like table only."""
    for name in SHIPPED:
        model = load_ngram(name)
        loads, dense, theirs = [], [], []
        for _ in range(repeats):
            loaded, ready = _load_seconds(name)
            loads.append(loaded)
            dense.append(ready)
            if load_kenlm is not None and name == report.run["arguments"]["alphabet"]:
                theirs.append(load_kenlm())
        for what, ours, floor in (
            ("load", loads, f"{len(model.counts.codes) if model.counts else 0:,} grams"),
            ("load dense", dense, f"{2 * model.dense_size / 1e6:.1f} MB"),
        ):
            report.add(
                what=what,
                alphabet=name,
                order=model.order,
                size=floor,
                ours=median(ours),
                **_times(ours, theirs),
                goal="reached" if median(ours) < LOAD_GOAL else f"missed: {LOAD_GOAL:g} s",
            )


def _times(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """The peer's columns of a row of times."""
    if not theirs:
        return {"peer": "none", "theirs": np.nan, "ratio": np.nan}
    ratios = [theirs_once / once for once, theirs_once in zip(ours, theirs, strict=True)]
    return {"peer": "kenlm", "theirs": median(theirs), "ratio": median(ratios)}


def _load_seconds(name: str) -> tuple[float, float]:
    """Seconds until a fresh process has the model `name`, and its table for the search too."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, name], capture_output=True, text=True, check=True
    )
    loaded, ready = json.loads(done.stdout)
    return loaded, ready


def _run_lmplz(lmplz: str, order: int, text: Path, arpa: Path) -> None:
    """Estimate with KenLM. Its customary discounts stand in where the counts give none, as in
    small alphabets they may not."""
    command = [lmplz, "-o", str(order), "--discount_fallback", "-S", "2G", "-T", str(text.parent)]
    with text.open() as source, arpa.open("w") as target:
        done = subprocess.run(
            command, stdin=source, stdout=target, stderr=subprocess.PIPE, text=True
        )
    if done.returncode != 0:
        raise InputError(f"lmplz failed: {done.stderr[-300:]}")


def _perplexity(model: NGramModel, documents: list[Ids]) -> tuple[float, int]:
    """Of the symbols with full context, and their number."""
    scores = np.concatenate([model.log_prob(ids)[model.order - 1 :] for ids in documents])
    return float(np.exp(-scores.mean())), len(scores)


def _nltk_perplexity(train: list[Ids], held_out: list[Ids], alphabet: Alphabet) -> float:
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    model = KneserNeyInterpolated(NLTK_ORDER)
    names = [list(alphabet.decode(ids)) for ids in train]
    grams = [list(everygrams(document, max_len=NLTK_ORDER)) for document in names]
    model.fit(grams, vocabulary_text=alphabet.symbols)
    back = NLTK_ORDER - 1
    scores = [
        model.logscore(document[i], tuple(document[i - back : i]))
        for document in (alphabet.decode(ids) for ids in held_out)
        for i in range(back, len(document))
    ]
    return float(2 ** -np.mean(scores))


def _up_to(corpus: Corpus, symbols: int | None) -> list[str]:
    """The corpus's texts, cut off after about so many characters."""
    texts = [document.text for document in corpus.documents]
    if symbols is None:
        return texts
    sizes = np.cumsum([0, *map(len, texts)])
    cut = (
        text[: max(0, symbols - int(before))] for text, before in zip(texts, sizes, strict=False)
    )
    return [text for text in cut if text]


def _encoded(texts: list[str], alphabet: Alphabet) -> list[Ids]:
    return [alphabet.encode(text) for text in texts]


def _write(documents: list[Ids], alphabet: Alphabet, path: Path) -> Path:
    """A document a line, symbols separated by spaces, the space itself written as a word."""
    names = np.array([symbol if symbol != " " else "<space>" for symbol in alphabet.symbols])
    with path.open("w", encoding="utf-8") as file:
        for ids in documents:
            file.write(" ".join(names[ids]) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
