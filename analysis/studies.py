"""The studies, one behind each of the toolkit's figures; and the command
`python -m analysis.studies`, which runs those whose results are missing or no longer hold.

A study is a command that leaves tables, their records and figures in a folder. It runs in a process
of its own, and beside its results goes what they were made from: its arguments, the corpus, the
shipped data, the versions of the libraries, and the source of every module of this project that it
may import. While none of these changes and no result is touched, the study need not run again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.options import CORPORA, SEVERAL, add_source_option, read_corpus
from analysis.results import check_outputs, check_writable
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.files import atomic_write
from decipher.commands import Parser, leave, run

PROG = "python -m analysis.studies"

#: Beside the results of a study: what they were made from, and what the process said meanwhile.
RECORD = "study.json"
LOG = "log.txt"

#: The packages whose source a study's results depend on.
HOUSE = ("ciphers", "decipher", "analysis")
#: The libraries whose versions they depend on.
LIBRARIES = (
    "arviz",
    "joblib",
    "matplotlib",
    "nltk",
    "numba",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
)

#: What stands for the study's folder in its arguments.
FOLDER = "{folder}"
#: How often the time on the progress bar is brought up to date, seconds.
TICK = 1.0


@dataclass(frozen=True)
class Study:
    """A command that answers one question with tables and figures.

    Attributes:
        name: what it is called, and the folder that its results go to.
        module: what `python -m` runs.
        title: its question, as a heading.
        page: its page of the documentation, in docs/.
        tables: the CSV files that it leaves, without the suffix; each has a JSON record.
        pictures: the PNG files, likewise.
        arguments: those that differ from the command's defaults: fewer texts, for all studies
            together are to take minutes.
        out: the arguments that say where the results go; `FOLDER` stands for the folder.
        corpus: whether it reads texts, so that it takes --corpus.
    """

    name: str
    module: str
    title: str
    page: str
    tables: tuple[str, ...]
    pictures: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    out: tuple[str, ...] = ("--out", FOLDER)
    corpus: bool = True

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all files that it leaves."""
        tables = (f"{table}{suffix}" for table in self.tables for suffix in (".csv", ".json"))
        return (*tables, *(f"{picture}.png" for picture in self.pictures))

    def settings(self, sources: Sequence[str] | None) -> list[str]:
        """The arguments that its results depend on; `sources` is the corpus, if not the default."""
        given = ["--corpus", *sources] if sources and self.corpus else []
        return [*self.arguments, *given]

    def command(self, folder: Path, sources: Sequence[str] | None) -> list[str]:
        """The whole command but for the interpreter."""
        out = [argument.replace(FOLDER, str(folder)) for argument in self.out]
        return ["-m", self.module, *self.settings(sources), *out]


STUDIES = (
    Study(
        name="accuracy",
        module="analysis.cli",
        title="How much ciphertext does a method need?",
        page="accuracy.md",
        tables=("accuracy",),
        pictures=("accuracy",),
        arguments=("--ciphers", "20"),
        out=("--out", f"{FOLDER}/accuracy.csv", "--plot", f"{FOLDER}/accuracy.png"),
    ),
    Study(
        name="bayes",
        module="analysis.bayes",
        title="What does the exact Bayesian reference read, and is it to be believed?",
        page="bayes.md",
        tables=(
            "accuracy",
            "texts",
            "regret",
            "reliability",
            "calibration",
            "sbc",
            "certificates",
        ),
        pictures=("accuracy", "regret", "reliability", "sbc", "certificates"),
        arguments=("--ciphers", "6", "--replications", "100"),
    ),
    Study(
        name="convergence",
        module="analysis.convergence",
        title="How fast does the Bayes mixture become the true language model?",
        page="convergence.md",
        tables=("contexts", "exponents"),
        pictures=("sizes", "vocabulary", "kinds"),
        corpus=False,
    ),
    Study(
        name="perplexity",
        module="analysis.perplexity",
        title="Does a model without an alphabet catch up with one that has it?",
        page="perplexity.md",
        tables=("positions", "bands", "contexts"),
        pictures=("loss", "gap"),
    ),
    Study(
        name="probes",
        module="analysis.probing",
        title="Do the hidden states tell the key?",
        page="probing.md",
        tables=("accuracy", "layers", "counts", "confusion", "pairs", "controls", "selectivity"),
        pictures=("accuracy", "layers", "counts", "confusion"),
        arguments=("--ciphers", "100"),
    ),
    Study(
        name="implicit",
        module="analysis.implicit",
        title="Does the model believe what Bayes' rule says it should?",
        page="implicit.md",
        tables=("synthetic", "synthetic-doublings", "english", "english-doublings", "regret"),
        pictures=("synthetic", "english"),
    ),
    Study(
        name="reasoning",
        module="analysis.reasoning",
        title="Does it use what the context alone tells?",
        page="reasoning.md",
        tables=("accuracy", "summary"),
        pictures=("accuracy",),
        corpus=False,
    ),
    Study(
        name="regularisation",
        module="analysis.regularisation",
        title="Does a standard model gain from random vectors?",
        page="regularisation.md",
        tables=("regularisation", "summary"),
        pictures=("regularisation",),
        arguments=("--texts", "16", "--prompts", "100"),
    ),
)


@dataclass(frozen=True)
class Result:
    """What a study left.

    Attributes:
        study: which.
        folder: where.
        command: what was run.
        inputs: what the results depend on: name -> version or hash (see `find_inputs`).
        outputs: file -> SHA-256.
        seconds: how long it took.
        reused: whether the results were there already.
    """

    study: Study
    folder: Path
    command: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: float
    reused: bool


# --- running ------------------------------------------------------------------------------------


def run_studies(
    names: Iterable[str] = (),
    out: Path = Path("results"),
    corpus: Sequence[str] | None = None,
    *,
    force: bool = False,
    studies: Sequence[Study] = STUDIES,
) -> list[Result]:
    """Run the studies that have no results or whose results no longer hold, one after another.

    Each has the whole machine, for most keep all cores busy. On a terminal a bar shows which one is
    running; elsewhere a line on standard error does.

    Args:
        names: the studies; all where none is named.
        out: the folder to whose folders the results go.
        corpus: what to measure on, as `load_corpus` takes it; None is the studies' own default.
        force: run them even so.
        studies: those that there are.

    Returns:
        One result each, in the order of `studies`.

    Raises:
        InputError: there is no such study or corpus, a file cannot be written, or a study failed;
            those that were finished before it stay.
    """
    chosen = choose_studies(names, studies)
    texts = read_corpus(corpus or CORPORA, "all") if any(study.corpus for study in chosen) else None
    for study in chosen:
        check_outputs(out / study.name, study.tables, study.pictures)
        check_writable(out / study.name / RECORD)
    results = []
    # Disabled by None where standard error is no terminal.
    with tqdm(total=len(chosen), unit="study", disable=None) as bar:
        for study in chosen:
            bar.set_description(study.name)
            folder = out / study.name
            inputs = find_inputs(study, corpus, texts)
            why = "as asked for" if force else why_run(study, folder, inputs)
            if why is None:
                results.append(_read_result(study, folder))
                _say(f"{study.name}: nothing has changed, reused")
            else:
                if bar.disable:
                    _say(f"{study.name}: running ({why}), {bar.n + 1} of {len(chosen)}")
                results.append(_run_study(study, folder, corpus, inputs, bar))
                _say(f"{study.name}: {results[-1].seconds:.0f} s ({why})")
            bar.n += 1
            bar.refresh()
    return results


def choose_studies(names: Iterable[str], studies: Sequence[Study] = STUDIES) -> list[Study]:
    """Those of `studies` that are named, or all where none is.

    Raises:
        InputError: there is none of that name.
    """
    there = {study.name for study in studies}
    wanted = set(names) or there
    for name in sorted(wanted - there):
        raise InputError(
            f"there is no study {name!r}: choose from {', '.join(each.name for each in studies)}"
        )
    return [study for study in studies if study.name in wanted]


def _run_study(
    study: Study,
    folder: Path,
    sources: Sequence[str] | None,
    inputs: Mapping[str, str],
    bar: tqdm[Any],
) -> Result:
    log = folder / LOG
    arguments = study.command(folder, sources)
    start = time.monotonic()
    with log.open("wb") as stream:
        code = _wait([sys.executable, *arguments], stream.fileno(), bar)
    seconds = time.monotonic() - start
    if code:
        raise InputError(f"the study {study.name} {_ending(code)}{_last_words(log)}: see {log}")
    for name in study.outputs:
        if not (folder / name).is_file():
            raise InputError(f"the study {study.name} has not left {folder / name}: see {log}")
    command = shlex.join(["python", *arguments])
    outputs = {name: file_hash(folder / name) for name in study.outputs}
    result = Result(study, folder, command, inputs, outputs, round(seconds, 1), reused=False)
    record = {
        "command": command,
        "seconds": result.seconds,
        "inputs": dict(inputs),
        "outputs": outputs,
    }
    # Last: results without a record count as none.
    with atomic_write(folder / RECORD) as temporary:
        text = json.dumps(record, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return result


def _wait(command: Sequence[str], output: int, bar: tqdm[Any]) -> int:
    """Run `command`, its words going to the file `output`, and give its exit code."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(TICK)
            bar.refresh()
    finally:
        # After an interrupt it must not go on alone.
        process.terminate()
        process.wait()


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"


def _last_words(log: Path) -> str:
    """The last line of a log, which is what a command says of an error."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last})" if last else ""


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


# --- what results depend on ---------------------------------------------------------------------


def find_inputs(
    study: Study, sources: Sequence[str] | None = None, texts: Corpus | None = None
) -> dict[str, str]:
    """What the results of a study depend on, by name: its arguments as they are, versions of
    libraries, and SHA-256 of all else, in hexadecimal.

    All shipped data count, for a study names what it loads only when it runs.

    Args:
        study: which.
        sources: what --corpus is given.
        texts: the corpus that they name.
    """
    found = {"arguments": shlex.join(study.settings(sources)), "python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    if study.corpus and texts is not None:
        found["corpus"] = f"{texts.name} {texts.hash}"
    return found | data_hashes() | source_hashes(study.module)


def data_hashes() -> dict[str, str]:
    """The shipped n-gram tables and weights: name -> SHA-256."""
    home = Path(__file__).resolve().parents[1]
    files = sorted(path for path in home.glob("*/data/*") if path.parts[-3] in HOUSE)
    return {path.relative_to(home).as_posix(): file_hash(path) for path in files}


def source_hashes(module: str) -> dict[str, str]:
    """The source of a module and of all that it may import in this project, directly or not:
    name -> SHA-256 of the syntax tree, which comments and layout do not change.

    An import counts wherever it stands, for many stand in functions; so does the name of a module
    in quotes, by which `decipher.methods` imports. The packages give their public names by
    importing all the modules they list; that counts only where such a name is imported.
    """
    house = {*HOUSE, module.partition(".")[0]}
    hashes: dict[str, str] = {}
    # Each with whether the imports of a package count that only type checkers follow.
    waiting = [(module, True)]
    seen = set(waiting)
    while waiting:
        name, public = waiting.pop()
        path = _module_path(name)
        if path is None:
            continue
        parsed = _parse(path.read_bytes())
        hashes[name] = parsed.hash
        package = path.name == "__init__.py"
        found = {(parent, False) for parent in _parents(name)}
        imports = parsed.imports if public or not package else parsed.imports - parsed.typing
        for target, member in imports:
            if target.partition(".")[0] in house:
                inner = f"{target}.{member}"
                found.add((inner if member and _module_path(inner) else target, True))
        fresh = found - seen
        seen |= fresh
        waiting += sorted(fresh)
    return dict(sorted(hashes.items()))


@dataclass(frozen=True)
class _Parsed:
    """A module: the hash of its tree; what it imports, each as (module, name of a member or ""),
    and which of these stand under TYPE_CHECKING."""

    hash: str
    imports: frozenset[tuple[str, str]]
    typing: frozenset[tuple[str, str]]


@cache
def _parse(source: bytes) -> _Parsed:
    tree = ast.parse(source)
    typing = frozenset(
        found
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for found in _imports(node)
    )
    digest = hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()
    return _Parsed(digest, frozenset(_imports(tree)), typing)


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, each.name) for each in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")
            if len(parts) > 1 and all(part.isidentifier() for part in parts):
                yield node.value, ""


def _parents(module: str) -> Iterator[str]:
    """The packages that are imported before a module is."""
    parts = module.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


@cache
def _module_path(module: str) -> Path | None:
    """The file of a module or package; None where there is none."""
    with suppress(ModuleNotFoundError):
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    return None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def why_run(study: Study, folder: Path, inputs: Mapping[str, str]) -> str | None:
    """Why the results in `folder` do not hold, in words; None where they do."""
    if not (folder / RECORD).is_file():
        return "no results yet"
    try:
        result = _read_result(study, folder)
    except (OSError, ValueError, TypeError, KeyError):
        return f"{RECORD} cannot be read"
    for name in sorted(inputs.keys() | result.inputs.keys()):
        if inputs.get(name) != result.inputs.get(name):
            return f"changed: {name}"
    for name in study.outputs:
        if not (folder / name).is_file():
            return f"missing: {name}"
        if file_hash(folder / name) != result.outputs.get(name):
            return f"changed: {name}"
    return None


def _read_result(study: Study, folder: Path) -> Result:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    command, seconds = str(record["command"]), float(record["seconds"])
    inputs, outputs = dict(record["inputs"]), dict(record["outputs"])
    return Result(study, folder, command, inputs, outputs, seconds, reused=True)


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Run the studies that the figures come from, each into a folder of its own. "
        "What has not changed since it was last run is not run again.",
        epilog=SEVERAL,
    )
    add_study_options(parser)
    parser.add_argument(
        "--list",
        action="store_true",
        help="run nothing; say which studies there are and which of them would run",
    )
    return parser


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which studies to run, on what, and where the results go."""
    names = ", ".join(study.name for study in STUDIES)
    parser.add_argument(
        "studies",
        metavar="NAME",
        nargs="*",
        help=f"the studies to run (default: all): {names}",
    )
    add_source_option(parser)
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results"),
        help="each study writes to its own folder in here (default: %(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="run studies again whose results still hold",
    )


def _run(arguments: argparse.Namespace) -> None:
    if arguments.list:
        _list(arguments)
        return
    results = run_studies(arguments.studies, arguments.out, arguments.corpus, force=arguments.force)
    figures = sum(len(result.study.pictures) for result in results)
    print(f"{figures} figures, with their tables and records: {arguments.out}")


def _list(arguments: argparse.Namespace) -> None:
    texts = read_corpus(arguments.corpus or CORPORA, "all")
    for study in choose_studies(arguments.studies):
        inputs = find_inputs(study, arguments.corpus, texts)
        why = why_run(study, arguments.out / study.name, inputs)
        state = "up to date" if why is None else f"to run ({why})"
        print(f"{study.name:<15} {state}\n    {study.title} docs/{study.page}")


if __name__ == "__main__":
    leave(main())
