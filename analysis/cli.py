"""The command `cipher-accuracy`: measure decipherers, write the table, draw the figure.

What is slow to import is imported once the arguments are known to be good, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from analysis.options import CORPORA, LENGTHS, SEVERAL, add_text_options, read_corpus
from ciphers.alphabet import get_alphabet
from decipher.commands import Parser, leave, run

if TYPE_CHECKING:
    import pandas as pd

PROG = "cipher-accuracy"

DECIPHERERS = ("ngram", "frequency")
RULES = ("map",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _measure_and_report(parser.parse_args(argv)), PROG)


def command() -> NoReturn:
    """The installed command."""
    leave(main())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how often decipherers of substitution ciphers are right, against the "
        "length of the ciphertext; write the table and draw the figure.",
        epilog=SEVERAL,
    )
    several = partial(parser.add_argument, nargs="+", action="extend")
    several(
        "--decipherer",
        metavar="NAME",
        help=f"the methods to measure (default: {' '.join(DECIPHERERS)})",
    )
    add_text_options(parser, alphabet="letters", ciphers=200)
    parser.add_argument(
        "--fixed",
        metavar="SYMBOLS",
        default="",
        help="symbols that every key leaves as they are, such as ' ' (default: none)",
    )
    several(
        "--rule",
        choices=["map", "marginal"],
        help="read a ciphertext with the most probable key (map), or with the key of the most "
        "symbols expected right (marginal); with both, each line is labelled by its rule "
        "(default: map)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.csv",
        type=Path,
        default=Path("results/accuracy.csv"),
        help="the table; a record of the run goes beside it as .json (default: %(default)s)",
    )
    plot = parser.add_mutually_exclusive_group()
    plot.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        default=Path("results/accuracy.png"),
        help="the figure: .png, .svg or .pdf (default: %(default)s)",
    )
    plot.add_argument(
        "--no-plot",
        dest="plot",
        action="store_const",
        const=None,
        help="draw no figure",
    )
    return parser


def _measure_and_report(arguments: argparse.Namespace) -> None:
    from analysis.curves import accuracy_curve
    from analysis.figures import figure_suffix, new_figure, plot_accuracy, save_figure
    from analysis.results import check_writable, describe_run, record_path, write_table
    from decipher.ngram import load_ngram

    out, plot = arguments.out, arguments.plot
    record = record_path(out)
    if plot is not None:
        figure_suffix(plot)
    alphabet = get_alphabet(arguments.alphabet)
    model = load_ngram(arguments.ngram or alphabet.name, alphabet)
    sources = arguments.corpus or CORPORA
    corpus = read_corpus(sources, arguments.split)
    for path in (out, record, plot):
        if path is not None:
            check_writable(path)

    rules = arguments.rule or RULES
    measurement = {
        "decipherers": arguments.decipherer or DECIPHERERS,
        "lengths": arguments.lengths or LENGTHS,
        "ciphers": arguments.ciphers,
        "seed": arguments.seed,
        "rule": rules[0] if len(rules) == 1 else rules,
        "fixed": arguments.fixed,
        "jobs": arguments.jobs or -1,
    }
    frame = accuracy_curve(corpus=corpus, alphabet=alphabet, model=model, **measurement)
    said = {
        "corpus": sources,
        "split": arguments.split,
        "alphabet": alphabet.name,
        "ngram": arguments.ngram or alphabet.name,
    }
    write_table(frame, out, describe_run(said | measurement, arguments.seed, corpus, model))
    # The files come before the words: a reader that stops reading must not cost the figure.
    if plot is not None:
        figure = new_figure()
        plot_accuracy(frame, figure.add_subplot(), corpus=corpus.name)
        save_figure(figure, plot)
    _print_table(frame)
    print(f"table: {out}\nrecord of the run: {record}")
    if plot is not None:
        print(f"figure: {plot}")


def _print_table(frame: pd.DataFrame) -> None:
    """Print the rates with their intervals, on a terminal so that 80 columns hold them."""
    if not sys.stdout.isatty():
        print(_cells(frame, "{:.3f} ({:.3f}-{:.3f})").to_string(index=False))
    else:
        from rich.console import Console
        from rich.table import Table

        cells = _cells(frame, "{:.3f}\n{:.2f}-{:.2f}")
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for column in cells:
            table.add_column(str(column), justify="left" if column == "decipherer" else "right")
        for row in cells.itertuples(index=False):
            table.add_row(*row)
        Console(markup=False).print(table)
    print("Each rate with its 95 % confidence interval; seconds are the mean for one ciphertext.")


def _cells(frame: pd.DataFrame, layout: str) -> pd.DataFrame:
    """The table as text; `layout` takes a rate and the two ends of its interval."""
    import pandas as pd

    def rates(name: str) -> list[str]:
        columns = frame[[name, f"{name}_low", f"{name}_high"]]
        rows = columns.itertuples(index=False)
        return ["-" if pd.isna(row[0]) else layout.format(*row) for row in rows]

    return pd.DataFrame(
        {
            "decipherer": frame["decipherer"],
            "length": frame["length"].astype(str),
            "ciphers": frame["ciphers"].astype(str),
            "token accuracy": rates("token_accuracy"),
            "key accuracy": rates("key_accuracy"),
            "exact": rates("exact_rate"),
            "search failure": rates("search_failure_rate"),
            "seconds": [f"{seconds:.2g}" for seconds in frame["seconds"]],
        }
    )
