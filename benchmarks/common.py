"""What the benchmarks share: options, the corpus, tables written row by row, peers beside us."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from analysis.results import check_writable, describe_run, record_path, write_table
from ciphers.corpora import BUILT_IN, Corpus, load_corpus
from ciphers.errors import InputError
from decipher.commands import Parser
from decipher.ngram import NGramModel

HERE = Path(__file__).resolve().parent
NOVELS = Path(os.path.relpath(HERE.parents[1] / "shared" / "corpora" / "novels"))
PEER_PYTHON = Path(os.path.relpath(HERE.parent / ".venv-bench" / "bin" / "python"))


def benchmark_parser(name: str, description: str | None) -> Parser:
    """A parser with the options that every benchmark has."""
    parser = Parser(
        prog=f"{name}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--corpus",
        metavar="CORPUS",
        default=str(NOVELS) if NOVELS.is_dir() else BUILT_IN,
        help="the English to measure on, as `cipher-accuracy` takes it (default: the novels in "
        f"../shared/corpora/novels where they are at hand, else {BUILT_IN})",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--out",
        metavar="FILE.csv",
        type=Path,
        default=Path("results", "benchmarks", f"{name}.csv"),
        help="the table; a record of the run goes beside it as .json (default: %(default)s)",
    )
    return parser


def peer_option(parser: Parser) -> None:
    """Add the option that says where the peers live."""
    parser.add_argument(
        "--peer-python",
        metavar="PATH",
        type=Path,
        default=PEER_PYTHON,
        help="an interpreter with benchmarks/requirements.txt (default: .venv-bench/bin/python)",
    )


class Report:
    """A table that is printed and written row by row, so that a run cut short keeps what it has.

    Args:
        arguments: the command's; `corpus`, `seed` and `out` among them.
        columns: what to print of each row, name -> format. All of it goes into the file.
        model: the n-gram model, for the record.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        columns: Mapping[str, str],
        model: NGramModel | None = None,
    ) -> None:
        self.path: Path = arguments.out
        for path in (self.path, record_path(self.path)):
            check_writable(path)
        self.corpus: Corpus = load_corpus(arguments.corpus)
        plain = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(arguments).items()
        }
        self.run = describe_run(plain, arguments.seed, self.corpus, model)
        self.columns = columns
        self.rows: list[dict[str, Any]] = []

    def add(self, **row: Any) -> None:
        """Print one row and write the table anew."""
        if not self.rows:
            print(f"corpus {self.corpus.name}, seed {self.run['seed']}")
            self._print(dict(zip(self.columns, self.columns, strict=True)))
        self._print(
            {
                name: "-" if pd.isna(row[name]) else format(row[name], style)
                for name, style in self.columns.items()
            }
        )
        self.rows.append(row)
        write_table(pd.DataFrame(self.rows), self.path, self.run)

    def _print(self, cells: Mapping[str, str]) -> None:
        widths = [max(len(name), 9 if style else 16) for name, style in self.columns.items()]
        line = "  ".join(
            f"{cells[name]:>{w}}" for name, w in zip(self.columns, widths, strict=True)
        )
        print(line, flush=True)

    def close(self) -> None:
        """Say where everything is."""
        print(f"table: {self.path}\nrecord of the run: {record_path(self.path)}")


class Worker:
    """A peer in an interpreter of its own, asked and answering in lines of JSON.

    Raises:
        InputError: the interpreter is not there, or the peer fails.
    """

    def __init__(self, python: Path, script: str, arguments: Sequence[str] = ()) -> None:
        self.script = script
        try:
            self.process = subprocess.Popen(
                [python, HERE / script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise InputError(
                f"there is no interpreter {python} for the peers: `make bench` sets one up, or "
                "give another with --peer-python"
            ) from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self.process.stdin is not None
        if kind is not None:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait()

    def ask(self, request: Any) -> Any:
        """Send a request and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise InputError(f"{self.script} ended without an answer: its reason stands above")
        return json.loads(answer)
