from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.curves
import analysis.figures
import analysis.trials
from analysis.cli import main
from analysis.curves import SUMMARY_COLUMNS
from ciphers import InputError

QUICK = ["--decipherer", "frequency", "--lengths", "8", "32", "--ciphers", "12"]
COMMAND = [sys.executable, "-c", "from analysis.cli import command; command()"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def the_line(capsys) -> str:
    """The one line on standard error; there is nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cipher-accuracy: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def test_end_to_end(capsys) -> None:
    assert status(*QUICK, "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "frequency" in out
    for name in ("accuracy.csv", "accuracy.json", "accuracy.png"):
        assert str(Path("results") / name) in out

    frame = pd.read_csv("results/accuracy.csv")
    assert list(frame.columns) == list(SUMMARY_COLUMNS)
    assert frame["length"].tolist() == [8, 32]
    assert frame["ciphers"].tolist() == [12, 12]
    run = json.loads(Path("results/accuracy.json").read_text())
    assert run["seed"] == 3
    assert run["arguments"] == {
        "corpus": ["built-in"],
        "split": "test",
        "alphabet": "letters",
        "ngram": "letters",
        "decipherers": ["frequency"],
        "lengths": [8, 32],
        "ciphers": 12,
        "seed": 3,
        "rule": "map",
        "fixed": "",
        "jobs": -1,
    }
    assert run["corpus"]["name"] == "built-in/test"
    assert Path("results/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_table_but_for_the_seconds() -> None:
    assert status(*QUICK, "--no-plot", "--out", "one.csv", "--jobs", "1") == 0
    assert status(*QUICK, "--no-plot", "--out", "two.csv", "--jobs", "2") == 0
    assert status(*QUICK, "--no-plot", "--out", "three.csv", "--seed", "1") == 0
    one, two, three = (
        [
            [
                cell
                for i, cell in enumerate(line.split(","))
                if i != SUMMARY_COLUMNS.index("seconds")
            ]
            for line in Path(name).read_text().splitlines()
        ]
        for name in ("one.csv", "two.csv", "three.csv")
    )
    assert one == two
    assert one != three


def test_values_follow_an_option_or_its_repetition(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("It was a bright cold day in April. " * 40)
    (tmp_path / "b.txt").write_text("The clocks were striking thirteen. " * 40)
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert (
        status(
            *("--decipherer", "frequency", "--lengths", "4", "8", "--lengths", "6"),
            *("--corpus", str(files[0]), "--corpus", str(files[1]), "--split", "all"),
            *("--alphabet", "letters-space", "--fixed", " ", "--rule", "marginal"),
            *("--ciphers", "3", "--plot", "figure.svg", "--out", "table.csv"),
        )
        == 0
    )
    assert pd.read_csv("table.csv")["length"].tolist() == [4, 8, 6]
    run = json.loads(Path("table.json").read_text())
    assert run["corpus"]["name"] == "a.txt+b.txt"
    assert run["arguments"]["fixed"] == " "
    assert run["arguments"]["rule"] == "marginal"
    assert Path("figure.svg").exists()
    assert not Path("results").exists()


def test_several_rules_are_several_lines() -> None:
    assert status(*QUICK, "--rule", "map", "marginal", "--no-plot") == 0
    labels = pd.read_csv("results/accuracy.csv")["decipherer"]
    assert labels.tolist() == ["frequency (map)"] * 2 + ["frequency (marginal)"] * 2
    run = json.loads(Path("results/accuracy.json").read_text())
    assert run["arguments"]["rule"] == ["map", "marginal"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--decipherer", "tea-leaves"], "tea-leaves"),
        (["--decipherer"], "--decipherer"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--split", "exam"], "exam"),
        (["--alphabet", "runes"], "runes"),
        (["--alphabet", "ascii"], "n-gram table"),
        (["--fixed", "7"], "'7'"),
        (["--lengths", "0"], "'0'"),
        (["--lengths", "16", "many"], "'many'"),
        (["--lengths", "16", "99999999"], "99999999"),
        (["--ciphers", "0"], "--ciphers"),
        (["--seed", "-1"], "--seed"),
        (["--jobs", "0"], "--jobs"),
        (["--rule", "guess"], "guess"),
        (["--ngram", "missing.npz"], "missing.npz"),
        (["--ngram", "letters-space"], "letters-space"),
        (["--out", "table.txt"], "table.txt"),
        (["--out", "a-file/table.csv"], "a-file/table.csv"),
        (["--out", "folder.csv"], "folder.csv"),
        (["--plot", "figure.docx"], "figure.docx"),
        (["--plot", "a-file/figure.png"], "a-file/figure.png"),
        (["--plot", "figure.png", "--no-plot"], "--no-plot"),
        (["--bogus"], "--bogus"),
        (["stray\nline"], "stray line"),
    ],
)
def test_bad_input_is_one_line_before_the_work(argv, says, capsys, monkeypatch) -> None:
    Path("a-file").touch()
    Path("folder.csv").mkdir()
    monkeypatch.setattr(analysis.trials, "_read_chunk", None)  # the work would fail
    assert status(*argv) == 2
    assert says in the_line(capsys)


def test_an_error_on_the_command_line_points_to_the_help(capsys) -> None:
    assert status("--seed", "x") == 2
    line = the_line(capsys)
    assert "--seed" in line
    assert "cipher-accuracy --help" in line


def test_bad_input_as_the_shell_sees_it() -> None:
    done = subprocess.run(
        [*COMMAND, *QUICK, "--corpus", "no-such-corpus"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cipher-accuracy: error: ")
    assert done.stderr.count("\n") == 1


def test_files_survive_a_run_that_fails(capsys, monkeypatch) -> None:
    assert status(*QUICK) == 0
    before = {path: path.read_bytes() for path in Path("results").iterdir()}
    assert len(before) == 3

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(analysis.trials, "_read_one", fail)
    capsys.readouterr()
    assert status(*QUICK, "--seed", "1") == 2
    assert "No space left" in the_line(capsys)
    assert {path: path.read_bytes() for path in Path("results").iterdir()} == before


def test_the_table_is_there_when_the_figure_fails(capsys, monkeypatch) -> None:
    def fail(*_, **__):
        raise InputError("no ink")

    monkeypatch.setattr(analysis.figures, "plot_accuracy", fail)
    assert status(*QUICK) == 2
    assert "no ink" in the_line(capsys)
    assert len(pd.read_csv("results/accuracy.csv")) == 2
    assert not Path("results/accuracy.png").exists()


def test_unknown_rates_are_shown_as_such(capsys, monkeypatch) -> None:
    def silent(*arguments, **options):
        return [row | {"search_failure": np.nan} for row in measured(*arguments, **options)]

    measured = analysis.curves.text_rows
    monkeypatch.setattr(analysis.curves, "text_rows", silent)
    assert status(*QUICK) == 0
    assert "nan" not in capsys.readouterr().out


def test_a_terminal_of_80_columns_holds_the_table(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert status(*QUICK) == 0
    out = capsys.readouterr().out
    assert "frequency" in out
    assert "\u2026" not in out  # nothing is cut off
    frame = pd.read_csv("results/accuracy.csv")
    for rate in frame["token_accuracy"]:
        assert f"{rate:.3f}" in out


def test_help_is_quick_and_complete() -> None:
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 2  # 0.2 s on an idle machine; pandas alone takes longer
    for option in ("--decipherer", "--corpus", "--split", "--lengths", "--fixed", "--no-plot"):
        assert option in done.stdout
    code = "import sys, analysis.cli; sys.exit(bool({'pandas', 'numba', 'scipy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_interrupt_is_quiet() -> None:
    argv = ["--decipherer", "frequency", "--lengths", "24", "--ciphers", "10000", "--no-plot"]
    # Whoever starts the tests in the background hands down that interrupts are ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + COMMAND[-1]
    with subprocess.Popen(
        [*COMMAND[:-1], code, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            while not Path("results").exists() and running.poll() is None:
                time.sleep(0.05)
            time.sleep(1.5)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=30)
        finally:
            running.kill()  # else a failure of this test would leave it at work
    assert (running.returncode, out, err) == (130, "", "")
    assert not list(Path("results").iterdir())


def test_a_reader_that_stops_reading_is_no_error() -> None:
    running = subprocess.Popen(
        [*COMMAND, *QUICK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == ""
    assert running.wait() == 141
    assert Path("results/accuracy.png").exists()
