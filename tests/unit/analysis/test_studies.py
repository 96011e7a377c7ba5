from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import analysis.studies as studies
from analysis.studies import (
    FOLDER,
    LOG,
    RECORD,
    STUDIES,
    Study,
    choose_studies,
    find_inputs,
    main,
    run_studies,
    source_hashes,
    why_run,
)
from ciphers import InputError, load_corpus

ROOT = Path(__file__).resolve().parents[3]
#: Each test has packages of its own: modules once found are remembered.
NUMBERS = count()

#: A study that leaves its files and counts its runs beside the folder; what it imports it imports
#: late.
RUN = """
import sys
from pathlib import Path
def main():
    from {house}.helper import VALUE
    folder = Path(sys.argv[sys.argv.index("--out") + 1])
    with open(folder.parent / (folder.name + ".runs"), "a") as stream:
        stream.write("x")
    print("measuring", *sys.argv[1:])
    (folder / "table.csv").write_text(f"value\\n{{VALUE}}\\n")
    (folder / "table.json").write_text("{{}}")
    (folder / "picture.png").write_bytes(b"png")
main()
"""


@pytest.fixture
def house(tmp_path, monkeypatch) -> Path:
    """A package of a study and what it imports; its name is the folder's."""
    folder = tmp_path / f"house{next(NUMBERS)}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("VALUE = 1\n")
    (folder / "run.py").write_text(RUN.format(house=folder.name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def study(house: Path, name: str = "one", **changes) -> Study:
    given = Study(
        name=name,
        module=f"{house.name}.run",
        title="What?",
        page="what.md",
        tables=("table",),
        pictures=("picture",),
        corpus=False,
    )
    return replace(given, **changes)


def runs(out: Path, name: str = "one") -> int:
    """How often a study has run."""
    file = out / f"{name}.runs"
    return len(file.read_text()) if file.exists() else 0


def test_a_study_runs_once_and_is_reused(house, tmp_path, capfd) -> None:
    out = tmp_path / "out"
    given = [study(house)]
    (first,) = run_studies(out=out, studies=given)
    assert not first.reused
    assert "one: running (no results yet), 1 of 1" in capfd.readouterr().err
    assert (out / "one" / LOG).read_text().startswith("measuring --out")
    (second,) = run_studies(out=out, studies=given)
    assert second == replace(first, reused=True)
    assert runs(out) == 1
    assert capfd.readouterr().err == "one: nothing has changed, reused\n"
    record = json.loads((out / "one" / RECORD).read_text())
    assert set(record["outputs"]) == {"table.csv", "table.json", "picture.png"}
    assert record["command"] == f"python -m {house.name}.run --out {out / 'one'}"


def edit(file: str, text: str) -> Callable[..., None]:
    return lambda house, out, monkeypatch: (house / file).write_text(text)


def lose(house, out, monkeypatch) -> None:
    (out / "one" / "picture.png").unlink()


def alter(house, out, monkeypatch) -> None:
    (out / "one" / "table.csv").write_text("value\n2\n")


def garble(house, out, monkeypatch) -> None:
    (out / "one" / RECORD).write_text("{")


def another_library(house, out, monkeypatch) -> None:
    version = studies.version
    monkeypatch.setattr(
        studies, "version", lambda name: "0.0" if name == "torch" else version(name)
    )


def other_data(house, out, monkeypatch) -> None:
    hashes = studies.data_hashes() | {"decipher/data/letters.npz": "0"}
    monkeypatch.setattr(studies, "data_hashes", lambda: hashes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (edit("helper.py", "VALUE = 2\n"), "changed: {house}.helper"),
        (edit("__init__.py", "VALUE = 2\n"), "changed: {house}"),
        (lose, "missing: picture.png"),
        (alter, "changed: table.csv"),
        (garble, "study.json cannot be read"),
        (another_library, "changed: torch"),
        (other_data, "changed: decipher/data/letters.npz"),
    ],
)
def test_what_has_changed_is_run_again(change, why, house, tmp_path, monkeypatch, capfd) -> None:
    out, given = tmp_path / "out", [study(house), study(house, "two")]
    run_studies(out=out, studies=given[:1])
    capfd.readouterr()
    change(house, out, monkeypatch)
    run_studies(out=out, studies=given[:1])
    assert runs(out) == 2
    assert why.format(house=house.name) in capfd.readouterr().err
    # And holds from then on.
    run_studies(out=out, studies=given[:1])
    assert runs(out) == 2


def test_other_arguments_and_force_run_it_again(house, tmp_path) -> None:
    out, given = tmp_path / "out", study(house)
    run_studies(out=out, studies=[given])
    run_studies(out=out, studies=[replace(given, arguments=("--texts", "2"))])
    assert runs(out) == 2
    run_studies(out=out, studies=[replace(given, arguments=("--texts", "2"))], force=True)
    assert runs(out) == 3


def test_comments_and_layout_do_not_count(house, tmp_path) -> None:
    out, given = tmp_path / "out", [study(house)]
    run_studies(out=out, studies=given)
    edit("helper.py", "# A reason.\n\nVALUE  =  1\n")(house, out, None)
    run_studies(out=out, studies=given)
    assert runs(out) == 1


def test_results_elsewhere_do_not_depend_on_where(house, tmp_path) -> None:
    given = study(house)
    run_studies(out=tmp_path / "out", studies=[given])
    (tmp_path / "out").rename(tmp_path / "moved")
    assert why_run(given, tmp_path / "moved" / "one", find_inputs(given)) is None


def test_the_corpus_counts_where_it_is_read(house, tmp_path) -> None:
    out, given = tmp_path / "out", [study(house), study(house, "two", corpus=True)]
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox. " * 50)
    run_studies(out=out, studies=given)
    run_studies(out=out, corpus=[str(text)], studies=given)
    assert (runs(out, "one"), runs(out, "two")) == (1, 2)
    assert f"--corpus {text}" in (out / "two" / LOG).read_text()
    assert "--corpus" not in (out / "one" / LOG).read_text()
    text.write_text("the lazy dog. " * 50)
    run_studies(out=out, corpus=[str(text)], studies=given)
    assert (runs(out, "one"), runs(out, "two")) == (1, 3)


def test_a_failure_is_one_line_and_keeps_what_is_finished(
    house, tmp_path, monkeypatch, capfd
) -> None:
    (house / "fail.py").write_text("import sys\nprint('half')\nsys.exit('no such thing')\n")
    bad = study(house, "two", module=f"{house.name}.fail")
    given, out = [study(house), bad, study(house, "three")], tmp_path / "out"
    monkeypatch.setattr(studies, "STUDIES", given)
    monkeypatch.setattr(run_studies, "__kwdefaults__", {"force": False, "studies": given})
    assert main(["--out", str(out)]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "python -m analysis.studies: error: the study two failed with exit code 1 (no such thing): "
        f"see {out / 'two' / LOG}"
    )
    assert (runs(out, "one"), runs(out, "three")) == (1, 0)
    assert why_run(bad, out / "two", find_inputs(bad)) == "no results yet"
    run_studies(["one", "three"], out, studies=given)
    assert (runs(out, "one"), runs(out, "three")) == (1, 1)


def test_an_end_by_a_signal_says_so(house, tmp_path) -> None:
    (house / "killed.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(InputError, match="was ended by signal 9: see"):
        run_studies(out=tmp_path, studies=[study(house, module=f"{house.name}.killed")])


def test_a_study_that_leaves_nothing_has_failed(house, tmp_path) -> None:
    (house / "idle.py").write_text("")
    with pytest.raises(InputError, match=r"has not left .*table\.csv"):
        run_studies(out=tmp_path, studies=[study(house, module=f"{house.name}.idle")])
    assert not (tmp_path / "one" / RECORD).exists()


def test_an_interrupt_ends_the_process_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(studies, "TICK", 0.05)
    begun, finished = tmp_path / "begun", tmp_path / "finished"

    def refresh() -> None:
        if begun.exists():
            raise KeyboardInterrupt

    code = f"import time; open({str(begun)!r}, 'w'); time.sleep(4); open({str(finished)!r}, 'w')"
    command = [sys.executable, "-c", code]
    with (tmp_path / "log").open("wb") as log, pytest.raises(KeyboardInterrupt):
        studies._wait(command, log.fileno(), SimpleNamespace(refresh=refresh))
    # It has been waited for: what it has not written by now it never will.
    assert not finished.exists()


# --- sources ------------------------------------------------------------------------------------


def test_the_sources_of_a_study() -> None:
    found = source_hashes("analysis.perplexity")
    # Imported at the top, late, for types, and as a package on the way.
    assert {"analysis.perplexity", "decipher.sampling.smc", "analysis.figures"} <= set(found)
    assert {"decipher.lexinvariant.model", "analysis", "ciphers.files"} <= set(found)
    # Public names of the package `analysis` that this study does not use.
    assert not {"analysis.probes", "analysis.readers", "analysis.cli"} & set(found)


def test_modules_that_are_named_in_quotes_count() -> None:
    assert "decipher.search" in source_hashes("decipher.methods")


def test_the_public_names_of_a_package_count_where_they_are_imported(house) -> None:
    init = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {0}.helper import VALUE\n"
    (house / "__init__.py").write_text(init.format(house.name))
    (house / "inner.py").write_text("import json\n")
    (house / "user.py").write_text(f"from {house.name} import VALUE\n")
    assert set(source_hashes(f"{house.name}.inner")) == {house.name, f"{house.name}.inner"}
    assert f"{house.name}.helper" in source_hashes(f"{house.name}.user")


# --- the registry and the command ---------------------------------------------------------------


@pytest.mark.parametrize("each", STUDIES, ids=lambda each: each.name)
def test_a_registered_study_is_there(each, tmp_path) -> None:
    module = import_module(each.module)
    # Run as a module that has no such line, it would do nothing and call that a success.
    assert 'if __name__ == "__main__":' in Path(module.__file__).read_text(encoding="utf-8")
    arguments = each.command(tmp_path, ["built-in"])
    assert arguments[:2] == ["-m", each.module]
    parsed = module._parser().parse_args(arguments[2:])
    assert tmp_path in (parsed.out, parsed.out.parent)
    assert hasattr(parsed, "corpus") == each.corpus
    if hasattr(module, "TABLES"):
        assert each.tables == module.TABLES
        named = getattr(module, "PICTURES", None) or (module.PICTURE,)
        assert each.pictures == tuple(named)
    assert (ROOT / "docs" / each.page).is_file()


def test_names_are_unique_and_outputs_lie_in_the_folder() -> None:
    assert len({each.name for each in STUDIES}) == len(STUDIES)
    for each in STUDIES:
        assert any(FOLDER in argument for argument in each.out)
        assert len(set(each.outputs)) == len(each.outputs)


def test_studies_are_chosen_by_name() -> None:
    assert choose_studies([]) == list(STUDIES)
    names = [each.name for each in choose_studies(["perplexity", "accuracy", "accuracy"])]
    assert names == ["accuracy", "perplexity"]
    with pytest.raises(InputError, match="no study 'accuraty': choose from accuracy, bayes"):
        choose_studies(["accuraty"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["perplexities"], "there is no study 'perplexities'"),
        (["accuracy", "--corpus", "no/such/folder"], "there is no corpus 'no/such/folder'"),
        (["--nothing"], "unrecognized arguments: --nothing (see"),
    ],
)
def test_bad_input_is_one_line(argv, says, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(argv)
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert says in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_list_says_what_would_run(tmp_path, capsys) -> None:
    assert main(["--list", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for each in STUDIES:
        assert f"{each.name:<15} to run (no results yet)" in out
        assert f"docs/{each.page}" in out
    assert not any(tmp_path.iterdir())


def test_inputs_name_the_corpus_and_the_data() -> None:
    inputs = find_inputs(STUDIES[0], None, load_corpus("built-in"))
    assert inputs["corpus"] == f"built-in {load_corpus('built-in').hash}"
    assert "decipher/data/letters-space.npz" in inputs
    assert any(name.startswith("analysis/data/chain-4-1-") for name in inputs)
    assert {"python", "torch", "numpy", "arguments", "analysis.cli"} <= set(inputs)
