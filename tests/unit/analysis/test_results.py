from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import accuracy_curve
from analysis.results import check_writable, describe_run, record_path, write_table
from ciphers import LETTERS, InputError, load_corpus
from decipher.ngram import load_ngram

FRAME = pd.DataFrame({"name": ["a, b", "c"], "n": [1, 2], "x": [1 / 3, np.nan]})


def test_a_run_is_described_as_json() -> None:
    corpus, model = load_corpus("built-in").test, load_ngram("letters")
    run = describe_run({"lengths": (16, 32), "seed": 7}, 7, corpus, model)
    assert run["seed"] == 7
    assert run["arguments"] == {"lengths": (16, 32), "seed": 7}
    assert run["corpus"] == {"name": "built-in/test", "hash": corpus.hash}
    assert run["ngram"]["hash"] == model.hash
    assert set(run["versions"]) == {
        "python",
        "bayesian-decipher",
        "numpy",
        "scipy",
        "numba",
        "pandas",
    }
    assert run["versions"]["numpy"] == np.__version__
    assert json.loads(json.dumps(run))["arguments"]["lengths"] == [16, 32]
    assert describe_run({}, 0, corpus)["ngram"] is None


def test_the_table_is_plain_csv_with_its_record_beside_it(tmp_path) -> None:
    path = tmp_path / "new" / "table.csv"
    record = write_table(FRAME, path, {"seed": 0, "name": "é"})
    assert path.read_bytes() == b'name,n,x\n"a, b",1,0.3333333333\nc,2,\n'
    assert record == tmp_path / "new" / "table.json"
    assert json.loads(record.read_text(encoding="utf-8")) == {"seed": 0, "name": "é"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["table.csv", "table.json"]


def test_the_same_seed_gives_the_same_bytes_but_for_the_seconds(tmp_path) -> None:
    corpus = load_corpus("built-in").test
    written = []
    for name, jobs in [("one.csv", 1), ("two.csv", 2)]:
        frame = accuracy_curve(["ngram"], corpus, LETTERS, [96, 160], 12, jobs=jobs)
        write_table(frame.drop(columns="seconds"), tmp_path / name, {})
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_table(pd.DataFrame({"x": [Unprintable()]}), path, {})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("name", ["", "table", "table.json", "table.txt", "."])
def test_a_table_is_named_csv(name) -> None:
    with pytest.raises(InputError, match=r"ends in \.csv"):
        record_path(name)


def test_check_writable(tmp_path) -> None:
    path = tmp_path / "folder" / "table.csv"
    check_writable(path)
    assert not path.exists()
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    for wrong in (path / "below-a-file.csv", path.parent):
        with pytest.raises(InputError, match="cannot write"):
            check_writable(Path(wrong))
