"""The report: every figure and the tables behind it, with each claim beside what was measured, in
one HTML page that needs nothing else; and the command `python -m analysis.report`, which makes it.

The page holds its pictures and its style, has no script, and reads on a phone, on paper and with
images off. What it says of results comes from the tables (`analysis.claims`, `analysis.sections`).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import jinja2
import pandas as pd
from PIL import Image

from analysis.claims import CLAIMS, INTERVALS, Claim, Finding, Tables, Verdict
from analysis.results import check_writable
from analysis.sections import SECTIONS, Section
from analysis.studies import LIBRARIES, STUDIES, Result, add_study_options, run_studies
from ciphers.errors import InputError
from ciphers.files import atomic_write
from decipher.commands import Parser, leave, run

PROG = "python -m analysis.report"

TEMPLATE = "report.html.jinja"
#: Colours of a picture on the page: a third of the bytes, and no difference to the eye.
COLOURS = 256
#: Pixels of the page to a pixel of a picture, so that letters in both are of a size.
SCALE = 0.72
#: A sign for each verdict, for colour alone is none.
SIGNS: dict[Verdict, str] = {
    "reached": "\N{BLACK CIRCLE}",
    "partly": "\N{CIRCLE WITH LEFT HALF BLACK}",
    "not reached": "\N{WHITE CIRCLE}",
}


# --- parts of the page --------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """A claim and what was found."""

    claim: Claim
    finding: Finding

    @property
    def sign(self) -> str:
        """The sign of the verdict."""
        return SIGNS[self.finding.verdict]

    @property
    def kind(self) -> str:
        """The verdict as the name of a style."""
        return self.finding.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Figure:
    """A picture on the page."""

    name: str
    caption: str
    alt: str
    uri: str
    width: int


@dataclass(frozen=True)
class Sheet:
    """A table on the page: its headings, which of its columns are numbers, and its rows."""

    name: str
    caption: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Part:
    """A study on the page."""

    section: Section
    result: Result
    claims: tuple[Judged, ...]
    figures: tuple[Figure, ...]
    sheets: tuple[Sheet, ...]
    record: Mapping[str, Any]
    docs: str


def read_tables(results: Iterable[Result]) -> dict[str, pd.DataFrame]:
    """All tables of the studies, by "study/table"."""
    return {
        f"{result.study.name}/{table}": pd.read_csv(result.folder / f"{table}.csv")
        for result in results
        for table in result.study.tables
    }


def judge_claims(tables: Tables, studies: Iterable[str]) -> list[Judged]:
    """The claims that `studies` measure, each with what was found in `tables`."""
    measured = {*studies}
    return [Judged(claim, claim.rule(tables)) for claim in CLAIMS if claim.study in measured]


def embed_picture(path: Path) -> tuple[str, int]:
    """A picture as a data URI, in `COLOURS` colours, and its width on the page in pixels."""
    with Image.open(path) as picture:
        flat = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    flat.save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/png;base64,{data}", round(SCALE * flat.width)


def make_sheet(name: str, caption: str, cells: pd.DataFrame) -> Sheet:
    """A table of texts for the page; columns of numbers are set to the right."""
    numeric = tuple(all(map(_is_number, cells[heading])) for heading in cells)
    rows = tuple(map(tuple, cells.itertuples(index=False)))
    return Sheet(name, caption, tuple(map(str, cells)), numeric, rows)


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "\N{MINUS SIGN}\N{EN DASH}" or cell.startswith("inf")


def make_part(section: Section, result: Result, tables: Tables, page: Path) -> Part:
    """A study for the page that will lie at `page`."""
    study = result.study
    figures = []
    for picture in section.pictures:
        uri, width = embed_picture(result.folder / f"{picture.name}.png")
        alt = picture.describe(tables)
        figures.append(Figure(picture.name, picture.caption, alt, uri, width))
    sheets = [make_sheet(each.name, each.caption, each.make(tables)) for each in section.tables]
    record = json.loads((result.folder / f"{study.tables[0]}.json").read_text(encoding="utf-8"))
    claims = judge_claims(tables, [study.name])
    docs = _docs_link(study.page, page)
    return Part(section, result, tuple(claims), tuple(figures), tuple(sheets), record, docs)


def _docs_link(name: str, page: Path) -> str:
    """The way from the page to a page of the documentation; empty where that is not at hand."""
    file = Path(__file__).resolve().parents[1] / "docs" / name
    return Path(os.path.relpath(file, page.resolve().parent)).as_posix() if file.is_file() else ""


# --- the page -----------------------------------------------------------------------------------


def write_report(results: Sequence[Result], page: Path) -> None:
    """Bind what studies left into one HTML page.

    Args:
        results: what `run_studies` gives; studies without a section have none.
        page: the file.

    Raises:
        InputError: the file cannot be written, or no study has a section.
    """
    by_name = {result.study.name: result for result in results}
    tables = read_tables(results)
    sections = [section for section in SECTIONS if section.study in by_name]
    if not sections:
        raise InputError("there is nothing to report: name at least one study")
    parts = [make_part(each, by_name[each.study], tables, page) for each in sections]
    judged = judge_claims(tables, by_name)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        judged=judged,
        counts=_count(judged),
        parts=parts,
        intervals=INTERVALS,
        left_out=[study for study in STUDIES if study.name not in by_name],
        versions=_versions(results[0].inputs),
        data=_data(results[0].inputs),
    )
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _count(judged: Iterable[Judged]) -> list[tuple[str, Verdict, int]]:
    """How often each verdict was given, with its sign."""
    counts = Counter(each.finding.verdict for each in judged)
    return [(SIGNS[verdict], verdict, counts[verdict]) for verdict in get_args(Verdict)]


def _versions(inputs: Mapping[str, str]) -> dict[str, str]:
    found = {name: inputs[name] for name in ("python", *LIBRARIES) if name in inputs}
    try:
        return {"bayesian-decipher": version("bayesian-decipher")} | found
    except PackageNotFoundError:  # it runs from its sources
        return found


def _data(inputs: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in inputs.items() if "/data/" in name}


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Run the studies whose results are missing or no longer hold, and bind all "
        "figures, tables and claims into one HTML page.",
    )
    add_study_options(parser)
    parser.add_argument(
        "--page",
        metavar="FILE.html",
        type=Path,
        help="the page (default: report.html in the folder of --out)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    page = arguments.page or arguments.out / "report.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write a page to {str(page)!r}: give a name that ends in .html")
    check_writable(page)
    results = run_studies(arguments.studies, arguments.out, arguments.corpus, force=arguments.force)
    write_report(results, page)
    print(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    leave(main())
