from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import analysis.report as report
from analysis.claims import CLAIMS
from analysis.report import SIGNS, embed_picture, main, make_sheet, read_tables, write_report
from analysis.sections import NONE, SECTIONS, cell, columns, from_to, grid, listed
from analysis.studies import STUDIES, Result, find_inputs
from ciphers import InputError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Of each picture: wider on the page than a phone, so that it has to give way.
SIZE = (800, 200)
#: Elements that have no end.
VOID = {"meta", "link", "img", "br", "hr", "input"}

#: What a browser makes of the page, told to the page around it; errors from the first byte on.
FIRST = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || event.target.tagName), true);
</script>"""
LAST = """<script>
addEventListener("load", () => {
  const images = [...document.images];
  const page = document.documentElement;
  parent.postMessage(JSON.stringify({
    errors: errors,
    images: images.length,
    loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    widest: Math.max(...images.map(image => image.getBoundingClientRect().right)),
    width: page.clientWidth,
    needed: page.scrollWidth,
  }), "*");
});
</script>"""
#: A window is never as narrow as a phone; a frame within it is.
AROUND = """<!DOCTYPE html><title>nothing yet</title>
<script>
addEventListener("message", event => {{ document.title = "RESULT " + event.data; }});
</script>
<iframe src="probed.html" width="{width}" height="900" style="border: 0"></iframe>"""


def results(folder: Path, tables: Mapping[str, pd.DataFrame], names=()) -> list[Result]:
    """What studies would have left: `tables`, records, and a picture of one colour each."""
    found = []
    for study in STUDIES:
        if names and study.name not in names:
            continue
        place = folder / study.name
        place.mkdir(parents=True)
        for name in study.tables:
            frame = tables.get(f"{study.name}/{name}", pd.DataFrame({"x": [1]}))
            frame.to_csv(place / f"{name}.csv", index=False)
            record = {"seed": 3, "corpus": {"name": "<novels>", "hash": "00c0ffee"}}
            (place / f"{name}.json").write_text(json.dumps(record))
        for name in study.pictures:
            Image.new("RGB", SIZE, "#0072B2").save(place / f"{name}.png")
        command = " ".join(["python", *study.command(place, None)])
        found.append(Result(study, place, command, find_inputs(study), {}, 12.3, reused=True))
    return found


@pytest.fixture
def page(tables, tmp_path) -> Path:
    """The report of all studies."""
    path = tmp_path / "report.html"
    write_report(results(tmp_path / "results", tables), path)
    return path


class Outline(HTMLParser):
    """Checks that tags are balanced, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_well_formed(page) -> None:
    outline = Outline(page.read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in outline.tags:
        for name in ("aria-labelledby", "headers"):
            assert attributes.get(name, ids[0]) in ids
    inner = [a["href"][1:] for a in outline.all("a") if a["href"].startswith("#")]
    assert set(inner) <= set(ids)
    assert {study.name for study in STUDIES} <= set(inner)
    for landmark in ("header", "nav", "main", "footer"):
        assert len(outline.all(landmark)) == 1
    assert len(outline.all("h1")) == 1
    assert next(a["name"] for a in outline.all("meta") if "name" in a) == "viewport"
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in outline.all("th"))


def test_the_page_needs_nothing_else(page) -> None:
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert not outline.all("script")
    assert all(attributes["href"] == "data:," for attributes in outline.all("link"))
    assert all(a["src"].startswith("data:image/png;base64,") for a in outline.all("img"))
    assert "url(" not in text
    assert "@import" not in text
    outer = {a["href"] for a in outline.all("a") if "//" in a["href"]}
    assert outer == {"https://arxiv.org/abs/2305.16349"}


def test_every_picture_is_there_with_a_text_in_its_place(page) -> None:
    images = Outline(page.read_text(encoding="utf-8")).all("img")
    assert len(images) == sum(len(study.pictures) for study in STUDIES)
    for image in images:
        data = base64.b64decode(image["src"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == SIZE
        # Numbers of the tables, and no hole where one should be.
        assert re.search(r"\d", image["alt"])
        assert "nan" not in image["alt"]
        assert image["alt"].endswith(".")


def test_every_section_holds_the_pictures_of_its_study() -> None:
    by_name = {study.name: study for study in STUDIES}
    assert [section.study for section in SECTIONS] == list(by_name)
    for section in SECTIONS:
        assert [each.name for each in section.pictures] == list(by_name[section.study].pictures)


def test_claims_and_verdicts_are_on_the_page(page, tables) -> None:
    text = page.read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert f'id="claim-{claim.name}"' in text
    # A word and a sign, not a colour alone; in the table and in the section.
    assert text.count(f'aria-hidden="true">{SIGNS["reached"]}</span> reached</span>') == 16
    assert "not reached: 0" in text


def test_a_verdict_comes_from_the_tables(tables, tmp_path) -> None:
    gap = tables["perplexity/contexts"]
    gap.loc[gap["kind"] == "lexinvariant", ["gap", "gap_high"]] = 5.0
    write_report(results(tmp_path, tables, ["perplexity"]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "5.00" in text
    assert "partly: 0" in text
    assert "not reached: 1" in text
    # A claim of a study that did not run is left out, and said to be.
    assert "claim-reasoning" not in text
    assert "were not asked for: accuracy, bayes, convergence, probes" in text


def test_provenance_and_escapes(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert "&lt;novels&gt; <code>00c0ffee</code>" in text
    assert "<novels>" not in text
    inputs = find_inputs(STUDIES[0])
    assert inputs["decipher/data/letters.npz"] in text
    assert f"torch {inputs['torch']}" in text
    assert "-m analysis.perplexity --out" in text


def test_equal_results_give_equal_pages(page, tables, tmp_path) -> None:
    found = results(tmp_path / "again", tables)
    write_report(found, tmp_path / "one.html")
    write_report(found, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_page_that_cannot_be_made_leaves_the_old_one(tables, tmp_path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    found = results(tmp_path / "results", tables, ["reasoning"])
    (found[0].folder / "accuracy.png").unlink()
    with pytest.raises(FileNotFoundError):
        write_report(found, page)
    assert page.read_text() == "old"
    with pytest.raises(InputError, match="nothing to report"):
        write_report([], page)


def test_the_command_runs_the_studies_and_binds_them(tables, tmp_path, capsys, monkeypatch) -> None:
    asked = []

    def run_studies(names, out, corpus, *, force):
        asked.append((names, out, corpus, force))
        return results(out, tables, names)

    monkeypatch.setattr(report, "run_studies", run_studies)
    out = tmp_path / "results"
    assert main(["reasoning", "--out", str(out), "--corpus", "novels/", "--force"]) == 0
    assert asked == [(["reasoning"], out, ["novels/"], True)]
    assert (out / "report.html").is_file()
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    # Before the work.
    assert main(["--page", str(tmp_path / "page.pdf")]) == 2
    assert "give a name that ends in .html" in capsys.readouterr().err
    assert len(asked) == 1


# --- words and cells ----------------------------------------------------------------------------


def test_cells() -> None:
    assert cell(0.126, 2) == "0.13"
    assert cell(-0.126, 2) == "\N{MINUS SIGN}0.13"
    assert cell(float("nan"), 2) == NONE
    assert cell("a", 2) == "a"
    frame = pd.DataFrame({"x": [0.5, np.nan], "x_low": [0.25, np.nan], "x_high": [0.75, np.nan]})
    assert list(columns(frame, ("x", "X", 2))["X"]) == ["0.50 (0.25 to 0.75)", NONE]


def test_a_grid_keeps_the_order_of_the_table() -> None:
    frame = pd.DataFrame(
        {"who": ["b", "b", "a", "a"], "n": [64, 128, 64, 128], "x": [1, 2, 3, np.nan]}
    )
    wide = grid(frame, [("who", "Who")], "n", "x", 1)
    assert list(wide) == ["Who", "64", "128"]
    assert wide.to_numpy().tolist() == [["b", "1.0", "2.0"], ["a", "3.0", NONE]]


def test_lines_in_words() -> None:
    frame = pd.DataFrame({"who": ["b", "b", "a"], "n": [128, 64, 64], "x": [0.2, 0.1, 0.3]})
    assert from_to(frame, "who", "n", "x") == "b 0.10 at 64 and 0.20 at 128; a 0.30 at 64"
    assert listed(["a"]) == "a"
    assert listed("abc") == "a, b and c"


def test_columns_of_numbers_are_told_apart() -> None:
    cells = pd.DataFrame(
        {"a": ["b", "1"], "n": ["1", NONE], "x": ["\N{MINUS SIGN}1 (0 to 1)", "2"]}
    )
    assert make_sheet("t", "T", cells).numeric == (False, True, True)


def test_a_picture_loses_no_more_than_shades(tmp_path) -> None:
    gradient = np.zeros((32, 512, 3), dtype=np.uint8)
    gradient[..., 0] = np.arange(512) // 2
    Image.fromarray(gradient).save(tmp_path / "picture.png")
    uri, width = embed_picture(tmp_path / "picture.png")
    assert width == 369
    kept = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    difference = np.abs(np.asarray(kept, dtype=int) - gradient)
    assert difference.max() <= 8


def test_tables_are_read_by_study_and_name(tables, tmp_path) -> None:
    found = read_tables(results(tmp_path, tables))
    assert set(found) == {f"{study.name}/{name}" for study in STUDIES for name in study.tables}


# --- a real browser -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(page, tmp_path, width) -> None:
    """All pictures load, nothing is wider than the window, and there is no error."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
    seen = look(browser, page, tmp_path, width)
    assert seen["errors"] == []
    assert seen["loaded"] == seen["images"] == sum(len(study.pictures) for study in STUDIES)
    assert seen["width"] == width
    assert seen["needed"] <= width
    assert seen["widest"] <= width


def look(browser: str, page: Path, folder: Path, width: int) -> dict:
    """What a headless browser makes of a page."""
    text = page.read_text(encoding="utf-8")
    probed = folder / "probed.html"
    probed.write_text(
        text.replace("<head>", f"<head>{FIRST}").replace("</body>", f"{LAST}</body>"),
        encoding="utf-8",
    )
    around = folder / "around.html"
    around.write_text(AROUND.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,1000",
            "--virtual-time-budget=10000",
            "--dump-dom",
            around.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = re.search(r"<title>RESULT (.*?)</title>", done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
