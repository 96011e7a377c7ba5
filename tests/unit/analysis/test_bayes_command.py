from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.bayes
import analysis.trials
from analysis.bayes import PARTS, main
from ciphers import Key
from decipher import NGramModel
from decipher.methods import METHODS
from decipher.posterior import KeyPosterior

COMMAND = [sys.executable, "-m", "analysis.bayes"]


@dataclass
class Quick:
    """In the place of the slow methods: certain of a random key, and of its proof now and then."""

    model: NGramModel
    rng: np.random.Generator
    particles: int = 0
    islands: int = 0
    rounds: int = 0
    swaps: int = 0
    temper: float = 1.0

    def posteriors(self, ciphertext, lengths):
        key = Key.random(self.model.alphabet, self.rng)
        plain = key.inverse.mapping
        certified = bool(self.rng.random() < 0.5)
        return [
            KeyPosterior(
                self.model.alphabet,
                np.eye(len(plain))[plain],
                key,
                np.unique(ciphertext[:length]).astype(np.intp),
                plain[None],
                np.ones(1),
                0.0,
                float(-3 * length),
                {"certified": certified, "gap": 0.0 if certified else 1.0},
            )
            for length in lengths
        ]


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("smc", "ngram", "astar"):
        monkeypatch.setitem(METHODS, name, (__name__, "Quick"))


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def files(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def expected(*parts: str) -> set[str]:
    tables = {f"{t}{s}" for part in parts for t in PARTS[part][0] for s in (".csv", ".json")}
    return tables | {f"{part}.png" for part in parts}


def test_everything(capsys) -> None:
    argv = ["--lengths", "8", "16", "--ciphers", "5", "--replications", "12", "--seed", "3"]
    assert status(*argv, "--only", *PARTS) == 0
    assert files("results/bayes") == expected(*PARTS)
    out, err = capsys.readouterr()
    assert err == ""
    for said in ("Token accuracy", "Regret", "Calibration", "chi-square", "3-grams", "Powers"):
        assert said in out
    texts = pd.read_csv("results/bayes/texts.csv")
    assert texts["decipherer"].unique().tolist() == list(analysis.bayes.CURVES.values())
    assert len(texts) == 4 * 2 * 5
    for table, rows in {"accuracy": 8, "regret": 2, "calibration": 2, "certificates": 2}.items():
        assert len(pd.read_csv(f"results/bayes/{table}.csv")) == rows
    record = json.loads(Path("results/bayes/certificates.json").read_text())
    assert record["seed"] == 3
    assert record["arguments"]["order"] == 3
    assert record["arguments"]["lengths"] == [8, 16]
    assert record["corpus"]["name"] == "built-in/test"
    assert Path("results/bayes/sbc.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_alone(capsys) -> None:
    argv = ["--lengths", "8", "--ciphers", "3", "--alphabet", "letters", "--out", "here"]
    assert status(*argv, "--only", "regret") == 0
    assert files("here") == expected("regret")
    (bound,) = pd.read_csv("here/regret.csv")["bound"]
    assert bound == pytest.approx(88.38, abs=0.01)  # log2 26!
    assert "Token accuracy" not in capsys.readouterr().out


def test_powers_to_try() -> None:
    argv = ["--lengths", "8", "--ciphers", "3", "--out", "here", "--only", "temper"]
    assert status(*argv, "--tempers", "0.5", "1") == 0
    assert pd.read_csv("here/temper.csv")["temper"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--only", "tea-leaves"], "tea-leaves"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--alphabet", "ascii"], "n-gram table"),
        (["--lengths", "0"], "'0'"),
        (["--lengths", "99999999"], "99999999"),
        (["--ciphers", "0"], "--ciphers"),
        (["--replications", "0"], "--replications"),
        (["--tempers", "0"], "--tempers"),
        (["--tempers", "hot"], "'hot'"),
        (["--ngram", "missing.npz"], "missing.npz"),
        (["--out", "a-file"], "a-file"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(argv, says, capsys, monkeypatch) -> None:
    Path("a-file").touch()
    monkeypatch.setattr(analysis.trials, "_read_chunk", None)  # the work would fail
    assert status(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.bayes: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err


def test_help_is_quick_and_complete() -> None:
    root = Path(analysis.bayes.__file__).parents[1]
    start = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, check=True, cwd=root
    )
    assert time.perf_counter() - start < 2
    for option in ("--out", "--only", "--corpus", "--split", "--lengths", "--tempers", "--jobs"):
        assert option in done.stdout
    code = "import sys, analysis.bayes; sys.exit(bool({'pandas', 'numba'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
