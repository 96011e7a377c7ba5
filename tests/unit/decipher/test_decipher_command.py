from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ciphers import LETTERS, LETTERS_SPACE, Key
from ciphers.homophonic import HomophonicKey
from decipher import NGramModel, load_ngram
from decipher.cli import _percent, main

KEY = "qwertyuiopasdfghjklzxcvbnm"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def give(monkeypatch, data: bytes) -> None:
    """Put `data` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


def output(capsys, *argv: str) -> str:
    """What the command prints, which must succeed."""
    assert status(*argv) == 0
    return capsys.readouterr().out


def encrypted(capsys, *argv: str) -> tuple[str, str]:
    """The ciphertext and the key that `encrypt` prints."""
    assert status("encrypt", *argv) == 0
    out, err = capsys.readouterr()
    assert err.startswith("key: ")
    assert err.endswith("\n")
    return out, err[5:-1]


# --- encrypt ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--key", KEY], Key.from_text(LETTERS, KEY)),
        (["--key", KEY.upper()], Key.from_text(LETTERS, KEY)),
        (["--keyword", "Zebra"], Key.keyword(LETTERS, "zebra")),
        (["--caesar", "3"], Key.caesar(LETTERS, 3)),
        (["--caesar", "-1"], Key.caesar(LETTERS, 25)),
        (["--affine", "5", "8"], Key.affine(LETTERS, 5, 8)),
    ],
)
def test_every_kind_of_key(options, key, passage, capsys) -> None:
    Path("plain.txt").write_text(passage)
    out, shown = encrypted(capsys, "plain.txt", *options)
    assert out == key.encrypt_text(passage)
    assert out != passage
    assert shown == key.text


def test_random_keys(capsys, monkeypatch) -> None:
    outputs = []
    for seed in (["--seed", "7"], ["--seed", "7"], ["--seed", "8"], [], []):
        give(monkeypatch, b"Some text, and some more of it.")
        out, key = encrypted(capsys, "--random", *seed)
        assert Key.from_text(LETTERS, key).decrypt_text(out) == "Some text, and some more of it.\n"
        outputs.append(out)
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) == 4


def test_groups(capsys, monkeypatch) -> None:
    give(monkeypatch, "Attack at dawn! Ærø.".encode())
    out, _ = encrypted(capsys, "--caesar", "1", "--groups", "5", "-")
    assert out == "BUUBD LBUEB XOBFS P\n"


def test_spaces_as_a_symbol(capsys, monkeypatch) -> None:
    key = Key.random(LETTERS_SPACE, np.random.default_rng(1)).text
    give(monkeypatch, b"see the sea")
    out, shown = encrypted(capsys, "--spaces", "symbol", "--key", key)
    assert shown == key
    assert out == Key.from_text(LETTERS_SPACE, key).encrypt_text("see the sea") + "\n"
    assert len(out.split(" ")) != 3 or out[3] != " "


# --- solve --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encrypt", "solve"),
    [
        ([], []),
        (["--groups", "5"], []),
        (["--spaces", "symbol"], ["--spaces", "symbol"]),
        ([], ["--spaces", "ignore"]),
        ([], ["--spaces", "boundaries", "--symbols", "any"]),
    ],
)
def test_round_trip(encrypt, solve, passage, capsys, monkeypatch) -> None:
    plain = passage
    if "any" in solve or "symbol" in encrypt:
        plain = LETTERS_SPACE.normalise(passage) + "\n"
    give(monkeypatch, plain.encode())
    ciphertext, key = encrypted(capsys, "--random", "--seed", "3", *encrypt)
    give(monkeypatch, ciphertext.encode())
    if solve or encrypt:
        solve = [*solve, "--decipherer", "ngram"]
    found = json.loads(output(capsys, "solve", "--json", *solve))
    if "--groups" in encrypt:
        plain = "".join(c for c in passage.upper() if c.isalpha())
        assert found["plaintext"].replace(" ", "").strip() == plain
    else:
        assert found["plaintext"] == plain
    if "any" not in solve:
        alphabet = LETTERS_SPACE if "symbol" in encrypt else LETTERS
        truth = Key.from_text(alphabet, key)
        for cipher, letter in found["mapping"].items():
            assert alphabet.decode(truth.encrypt(alphabet.encode(letter, collapse=False))) == cipher
    assert found["run"]["seed"] == 0
    assert 0.95 < found["expected_accuracy"] <= 1


def test_the_report(passage, capsys) -> None:
    key = Key.random(LETTERS, np.random.default_rng(0))
    Path("cryptogram.txt").write_text(key.encrypt_text(passage))
    out = output(capsys, "solve", "cryptogram.txt")
    assert out.startswith(passage.rstrip("\n") + "\n\n")
    rows = {line[:8].strip(): line[10:] for line in out.splitlines() if line.startswith("  ")}
    assert key.decrypt_text(rows["cipher"]) == rows["plain"]
    assert set(rows["plain"]) == {c for c in passage.lower() if c.isalpha()}
    assert len(rows["trust"]) == len(rows["plain"])
    assert set(rows["trust"]) <= set("*+-?")
    assert "% of the letters are expected to be right" in out
    total, stars = len(rows["trust"]), rows["trust"].count("*")
    sure = "".join(c for c, mark in zip(rows["cipher"], rows["trust"], strict=True) if mark == "*")
    some = f"{stars} of the {total} symbols are certain to 99%: {sure}\nWhat the other"
    assert 0.5 * total < stars
    assert ("All symbols are certain to 99%.\n" if stars == total else some) in out


def test_the_report_of_a_doubtful_text(capsys, monkeypatch) -> None:
    give(monkeypatch, "[b]Xlj[/b] qsgle ævé!".encode())
    out = output(capsys, "solve", "-", "--decipherer", "unigram")
    assert "\n\nNo symbol is certain to 99%. What they may be:\n" in out
    assert out.startswith("[")  # markup of other programs is text
    assert "\n  q = " in out


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ("abc=cat", "\n\nAll symbols are certain to 99%.\n"),
        ("ab=ca", "\n\n2 of the 3 symbols are certain to 99%: ab\nWhat the other may be:\n  c = "),
        ("a=c", "\n\n1 of the 3 symbols is certain to 99%: a\nWhat the others may be:\n  b = "),
    ],
)
def test_how_many_symbols_are_certain(known, says, capsys, monkeypatch) -> None:
    give(monkeypatch, b"abc")
    assert says in output(capsys, "solve", "--known", known, "--decipherer", "unigram")


def test_probabilities_are_rounded_down() -> None:
    """So that what is not certain to 99% does not show as 99%."""
    shown = [_percent(p) for p in (1.0, 0.9899, 0.5, 0.019, 0.0099, 1e-9)]
    assert shown == ["100%", "98%", "50%", "1%", "<1%", "<1%"]


def test_the_report_shows_spaces_that_are_symbols(capsys, monkeypatch) -> None:
    give(monkeypatch, b"ab c")
    argv = ["--spaces", "symbol", "--known", " =x", "--known", "a= ", "--decipherer", "unigram"]
    out = output(capsys, "solve", *argv)
    assert "  cipher  abc␣\n   plain  ␣" in out
    assert "2 of the 4 symbols are certain to 99%: a␣\n" in out


def test_the_report_in_groups(capsys, monkeypatch) -> None:
    give(monkeypatch, b"1 22 1  333\n22")
    argv = ["--symbols", "groups", "--known", "1 22=no", "--decipherer", "unigram"]
    out = output(capsys, "solve", *argv)
    plain = out[4]
    assert out.startswith(f"non {plain}\no\n\n  cipher    1  22 333\n   plain    n   o   {plain}\n")
    assert "2 of the 3 symbols are certain to 99%: 1 22\n" in out
    assert "\n  333 = " in out


def test_methods_without_probabilities_claim_none(capsys, monkeypatch) -> None:
    for method, says in (("astar", "\nProven: no key is more probable.\n"), ("frequency", "\n\n")):
        give(monkeypatch, b"Xlj lx xjl")
        out = output(capsys, "solve", "--decipherer", method)
        assert f"{says}The method {method} gives one key and no probabilities: " in out
        assert "certain" not in out
        assert "trust  " not in out
        assert "expected" not in out


def test_what_is_not_proven(capsys, monkeypatch) -> None:
    monkeypatch.setattr("decipher.solution.SETTINGS", {"astar": {"nodes": 1, "seconds": 0}})
    give(monkeypatch, b"Xlj qsgle hjk, xlj lsq.")
    out = output(capsys, "solve", "--decipherer", "astar")
    assert "\nNot proven: another key may be more probable by at most " in out
    assert " nats.\nThe method astar" in out


def test_homophonic(passage, capsys) -> None:
    rng = np.random.default_rng(15)
    key = HomophonicKey.random(LETTERS, 40, rng)
    plain = LETTERS.encode(passage)[:400]
    numbers = [f"{i:02d}" for i in key.encrypt(plain, rng)]
    Path("numbers.txt").write_text(" ".join(numbers[:300]) + "\n" + " ".join(numbers[300:]))
    argv = ["numbers.txt", "--homophonic", "--symbols", "groups", "--word", "1=my"]
    out = output(capsys, "solve", *argv)
    lines = out.splitlines()
    assert len(lines[0]) == 300
    assert len(lines[1]) == 100
    found = LETTERS.encode(lines[0] + lines[1])
    assert np.mean(found == plain) > 0.9
    table = {line.split()[0]: line.split()[1:] for line in lines[3 : lines.index("", 3)]}
    assert list(table) == sorted(table)
    letters = dict(zip(numbers, lines[0] + lines[1], strict=True))
    assert {s: letter for letter, signs in table.items() for s in signs} == letters
    assert "% of the letters are expected to be right.\n\n" in out
    assert " certain to 99%" in out
    assert "Trust" not in out


def test_cribs(capsys, monkeypatch) -> None:
    text = Key.from_text(LETTERS, KEY).encrypt_text("Wait for me at the old mill.")
    argv = ["solve", "--known", "D=m", "--known", "sr=LD", "--word", "1=wait", "--json"]
    argv += ["--decipherer", "ngram"]
    for spaces in ("auto", "ignore"):
        give(monkeypatch, text.encode())
        found = json.loads(output(capsys, *argv, "--spaces", spaces))
        assert {found["mapping"][KEY[ord(p) - 97]] for p in "mldwait"} == set("mldwait")
        assert all(found["mapping"][KEY[ord(p) - 97]] == p for p in "mldwait")
        assert found["plaintext"].startswith("Wait ")
    give(monkeypatch, text.encode())  # the same crib twice is no contradiction
    assert status(*argv, "--known", "D=m", "--word", "1=wait") == 0
    capsys.readouterr()
    give(monkeypatch, b"=# ##= #+")  # a sign of equality may be a cipher symbol
    argv = ["solve", "--symbols", "any", "--known", "==e", "--decipherer", "unigram", "--json"]
    assert json.loads(output(capsys, *argv))["mapping"]["="] == "e"


def test_seed_and_method(capsys, monkeypatch) -> None:
    def found(*argv):
        give(monkeypatch, b"Xlj qsgle hjk, xlj lsq.")
        return json.loads(output(capsys, "solve", "--json", *argv))

    search = ["--decipherer", "ngram"]
    assert found("--seed", "3", *search) == found("--seed", "3", *search)
    assert found("--seed", "3", *search) != found("--seed", "4", *search)
    by_rank = found("--decipherer", "frequency")
    assert by_rank["run"]["method"] == "frequency"
    assert by_rank["mapping"]["l"] == "e"


# --- fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npz", "arpa"])
def test_fit_and_solve_with_it(suffix, passage, capsys, monkeypatch) -> None:
    table = f"made/here.{suffix}"
    search = ["--decipherer", "ngram"]
    argv = ["fit", "built-in", "--alphabet", "letters-space", "--order", "3", "--out", table]
    out = output(capsys, *argv)
    assert out.startswith(f"{table}: order 3 over 27 symbols, from ")
    assert "of built-in/train (" in out
    bits = float(out.split("validation: ")[1].split()[0])
    assert 2 < bits < 3.5
    model = load_ngram(table, LETTERS_SPACE)
    give(monkeypatch, Key.from_text(LETTERS, KEY).encrypt_text(passage).encode())
    found = json.loads(output(capsys, "solve", "--ngram", table, "--json", *search))
    assert found["plaintext"].startswith("My grandmother kept a small")
    assert found["run"]["model"] == model.hash
    if suffix == "npz":
        assert model.provenance["corpus"] == "built-in/train"
        assert len(model.provenance["corpus_hash"]) == 64


def test_fit_of_several_files(passage, capsys) -> None:
    Path("a.txt").write_text(passage)
    Path("b.txt").write_text(passage.upper())
    out = output(capsys, *["fit", "a.txt", "b.txt", "--split", "all"], "--out", "t.npz")
    letters = 2 * sum(c.isalpha() for c in passage)
    assert f"order 5 over 26 symbols, from {letters:,} symbols of a.txt+b.txt (2 documents)" in out
    assert "validation" not in out
    assert load_ngram("t.npz").provenance["symbols"] == letters
    first = Path("t.npz").read_bytes()
    output(capsys, *["fit", "a.txt", "b.txt", "--split", "all"], "--out", "t.npz")
    assert Path("t.npz").read_bytes() == first


# --- whatever can go wrong ----------------------------------------------------------------------


@pytest.fixture
def files(passage) -> None:
    """Good and bad files in the working directory."""
    Path("good.txt").write_text(passage)
    Path("empty.txt").write_bytes(b"")
    Path("blank.txt").write_bytes(b" \n\t\n")
    Path("digits.txt").write_text("1234 5678")
    Path("one.txt").write_text("zzzz zzz")
    Path("many.txt").write_text("".join(map(chr, range(0x21, 0x21 + 27))))
    Path("binary.txt").write_bytes(b"abc\0def")
    Path("latin.txt").write_bytes("né à l'été".encode("latin-1"))
    Path("ab.txt").write_text("aaaa bbb")  # too short for three splits
    Path("folder").mkdir()
    model = NGramModel.estimate([LETTERS.encode(passage)], LETTERS, 2)
    model.save("good.npz")
    model.to_arpa("good.arpa")
    NGramModel.estimate([LETTERS_SPACE.encode(passage)], LETTERS_SPACE, 2).save("space.npz")
    data = Path("good.npz").read_bytes()
    Path("cut.npz").write_bytes(data[: len(data) // 2])
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    Path("damaged.npz").write_bytes(damaged)
    with np.load("good.npz") as file:
        content = dict(file)
    meta = {**json.loads(content["meta"].tobytes()), "version": 2}
    content["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed("version.npz", **content)
    Path("bad.arpa").write_text("\\data\\\n\n\\1-grams:\nx\ta\n\\end\\\n")
    Path("out.npz").write_bytes(b"what was there")
    Path("out.arpa").write_bytes(b"what was there")


FIT = ["fit", "good.txt", "--split", "all", "--order", "2"]
BAD = {
    # texts
    "empty": (["solve", "empty.txt"], "empty"),
    "blank": (["solve", "blank.txt"], "empty"),
    "no letters": (["solve", "digits.txt"], "no letters"),
    "one symbol": (["solve", "one.txt"], "one symbol only"),
    "many symbols": (["solve", "many.txt", "--symbols", "any"], "27 distinct symbols"),
    "binary": (["solve", "binary.txt"], "binary"),
    "not UTF-8": (["solve", "latin.txt"], "not UTF-8"),
    "missing": (["solve", "none.txt"], "cannot read none.txt"),
    "a directory": (["solve", "folder"], "cannot read folder"),
    "encrypt empty": (["encrypt", "empty.txt", "--random"], "no letters"),
    "encrypt digits": (["encrypt", "digits.txt", "--random"], "no letters"),
    "encrypt binary": (["encrypt", "binary.txt", "--random"], "binary"),
    "encrypt not UTF-8": (["encrypt", "latin.txt", "--random"], "not UTF-8"),
    "encrypt missing": (["encrypt", "none.txt", "--random"], "cannot read none.txt"),
    "encrypt a directory": (["encrypt", "folder", "--random"], "cannot read folder"),
    # keys
    "caesar": (["encrypt", "good.txt", "--caesar", "three"], "--caesar"),
    "affine": (["encrypt", "good.txt", "--affine", "13", "1"], "shares the factor 13"),
    "affine alone": (["encrypt", "good.txt", "--affine", "13"], "--affine"),
    "key repeats": (["encrypt", "good.txt", "--key", KEY[:-1] + "q"], "lacks 'm'"),
    "short key": (["encrypt", "good.txt", "--key", KEY[:-1]], "has 25 symbols"),
    "key of signs": (["encrypt", "good.txt", "--key", KEY[:-1] + "!"], "'!'"),
    "keyword": (["encrypt", "good.txt", "--keyword", "123"], "'123'"),
    "no key": (["encrypt", "good.txt"], "--key"),
    "two keys": (["encrypt", "good.txt", "--random", "--caesar", "3"], "not allowed"),
    "seed": (["encrypt", "good.txt", "--random", "--seed", "-1"], "'-1'"),
    "seed of nothing": (["encrypt", "good.txt", "--caesar", "3", "--seed", "1"], "--random"),
    "groups": (["encrypt", "good.txt", "--random", "--groups", "0"], "'0'"),
    "groups of spaces": (
        ["encrypt", "good.txt", "--random", "--groups", "5", "--spaces", "symbol"],
        "choose --groups or --spaces",
    ),
    # cribs
    "two for one": (["solve", "good.txt", "--known", "M=e", "--known", "y=e"], "contradict"),
    "one for two": (["solve", "good.txt", "--known", "M=e", "--known", "m=a"], "contradict"),
    "given twice": (["solve", "good.txt", "--known", "M=e", "--known", "M=a"], "given twice"),
    "word against letter": (
        ["solve", "good.txt", "--known", "M=e", "--word", "1=at"],
        "contradict",
    ),
    "two words": (["solve", "good.txt", "--word", "1=at", "--word", "1=in"], "given twice"),
    "crib lengths": (["solve", "good.txt", "--known", "My=e"], "differ in length"),
    "crib of two lines": (["solve", "good.txt", "--known", "M\ny=e"], "differ in length"),
    "crib elsewhere": (["solve", "good.txt", "--known", "z=e"], "does not occur"),
    "crib form": (["solve", "good.txt", "--known", "M"], "not of the form X=e"),
    "word form": (["solve", "good.txt", "--word", "at=1"], "not of the form 17=attack"),
    "word place": (["solve", "good.txt", "--word", "99999=at"], "does not fit"),
    "word at 0": (["solve", "good.txt", "--word", "0=at"], "does not fit"),
    "huge place": (["solve", "good.txt", "--word", "9" * 5000 + "=at"], "--word"),
    # options
    "method": (["solve", "good.txt", "--decipherer", "oracle"], "'oracle'"),
    "enumerate": (["solve", "good.txt", "--decipherer", "enumerate"], "at most 362,880"),
    "spaces": (["solve", "good.txt", "--spaces", "none"], "'none'"),
    "symbols": (["solve", "good.txt", "--symbols", "runes"], "'runes'"),
    "spaces in groups": (
        ["solve", "good.txt", "--symbols", "groups", "--spaces", "symbol"],
        "only be ignored",
    ),
    "homophonic method": (
        ["solve", "good.txt", "--homophonic", "--decipherer", "smc"],
        "'smc' is for one-to-one ciphers",
    ),
    "homophonic letters": (
        ["solve", "good.txt", "--homophonic", "--symbols", "letters"],
        "'any' sign or 'groups'",
    ),
    "homophonic spaces": (
        ["solve", "good.txt", "--homophonic", "--spaces", "boundaries"],
        "only be ignored",
    ),
    "homophonic table": (
        ["solve", "good.txt", "--homophonic", "--ngram", "space.npz"],
        "over the alphabet letters-space",
    ),
    "homophonic crib": (
        ["solve", "good.txt", "--homophonic", "--known", "M=e", "--word", "1=at"],
        "contradict",
    ),
    "solve seed": (["solve", "good.txt", "--seed", "x"], "'x'"),
    "no command": ([], "COMMAND"),
    "unknown command": (["crack", "good.txt"], "'crack'"),
    "unknown option": (["solve", "good.txt", "--fast"], "--fast"),
    # tables
    "cut table": (["solve", "good.txt", "--ngram", "cut.npz"], "damaged"),
    "damaged table": (["solve", "good.txt", "--ngram", "damaged.npz"], "damaged"),
    "version": (["solve", "good.txt", "--ngram", "version.npz"], "version 2"),
    "alphabet": (["solve", "good.txt", "--ngram", "good.npz"], "over the alphabet letters,"),
    "other alphabet": (
        ["solve", "good.txt", "--spaces", "ignore", "--ngram", "space.npz"],
        "over the alphabet letters-space",
    ),
    "shipped alphabet": (["solve", "good.txt", "--ngram", "letters"], "over the alphabet letters,"),
    "arpa alphabet": (["solve", "good.txt", "--ngram", "good.arpa"], "lacks some symbols"),
    "bad arpa": (["solve", "good.txt", "--ngram", "bad.arpa"], "line 4 is not ARPA"),
    "missing arpa": (["solve", "good.txt", "--ngram", "none.arpa"], "cannot read none.arpa"),
    "missing table": (["solve", "good.txt", "--ngram", "none"], "no n-gram table none"),
    "text as table": (["solve", "good.txt", "--ngram", "good.txt"], "damaged or no n-gram table"),
    "folder as table": (["solve", "good.txt", "--ngram", "folder"], "folder"),
    # fit
    "order 0": (["fit", "good.txt", "--order", "0", "--out", "out.npz"], "1 to 6"),
    "order 7": (["fit", "good.txt", "--order", "7", "--out", "out.npz"], "1 to 6"),
    "order x": (["fit", "good.txt", "--order", "x", "--out", "out.npz"], "--order"),
    "suffix": ([*FIT, "--out", "out.txt"], "end it in .npz or .arpa"),
    "no suffix": ([*FIT, "--out", "out"], "end it in .npz or .arpa"),
    "no out": (FIT, "--out"),
    "under a file": ([*FIT, "--out", "good.txt/out.npz"], "cannot write good.txt/out.npz"),
    "arpa under a file": ([*FIT, "--out", "good.txt/out.arpa"], "cannot write good.txt/out.arpa"),
    "fit alphabet": ([*FIT, "--alphabet", "runes", "--out", "out.npz"], "'runes'"),
    "corpus empty": (["fit", "empty.txt", "--out", "out.npz"], "holds no text"),
    "corpus of digits": (["fit", "digits.txt", "--split", "all", "--out", "out.npz"], "5-gram"),
    "corpus binary": (["fit", "binary.txt", "--out", "out.npz"], "binary"),
    "corpus not UTF-8": (["fit", "latin.txt", "--out", "out.arpa"], "not UTF-8"),
    "corpus missing": (["fit", "none.txt", "--out", "out.npz"], "'none.txt'"),
    "corpus folder": (["fit", "folder/", "--out", "out.npz"], "no *.txt"),
    "corpus pattern": (["fit", "no*.text", "--out", "out.npz"], "no file matches"),
    "corpus one of two": (["fit", "good.txt", "none.txt", "--out", "out.npz"], "'none.txt'"),
    "corpus too small": (["fit", "one.txt", "--out", "out.npz"], "5-gram"),
    "no validation": (["fit", "ab.txt", "--order", "1", "--out", "out.npz"], "validation split"),
}


def snapshot() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


def the_line(capsys) -> str:
    """The one line on standard error; there is nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("decipher: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_code_2(name, files, capsys) -> None:
    argv, says = BAD[name]
    before = snapshot()
    assert status(*argv) == 2
    assert says in the_line(capsys)
    assert snapshot() == before


def test_bad_standard_input(capsys, monkeypatch) -> None:
    for data, says in ((b"", "empty"), (b"\xff\xfe", "not UTF-8"), (b"a\0b", "binary")):
        give(monkeypatch, data)
        assert status("solve") == 2
        assert says in the_line(capsys)


def test_a_corpus_that_cannot_be_fetched(files, capsys, monkeypatch) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(nltk, "download", lambda *args, **options: False)
    before = snapshot()
    assert status("fit", "treebank", "--out", "out.npz") == 2
    assert "nltk.downloader treebank" in the_line(capsys)
    assert status("fit", "no_such_corpus", "--out", "out.npz") == 2
    assert "no corpus 'no_such_corpus'" in the_line(capsys)
    assert snapshot() == before


def test_a_table_that_is_cut_short_while_written_leaves_the_old_one(
    files, capsys, monkeypatch
) -> None:
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    before = snapshot()
    monkeypatch.setattr(np, "savez_compressed", full)
    assert status(*FIT, "--out", "out.npz") == 2
    assert "cannot write out.npz: No space left" in the_line(capsys)
    assert snapshot() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write every file")
def test_files_without_permission(files, capsys) -> None:
    Path("good.txt").chmod(0)
    assert status("solve", "good.txt") == 2
    assert "Permission denied" in the_line(capsys)


def test_an_interrupt_is_silent(files, capsys, monkeypatch) -> None:
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("decipher.solution.solve", interrupt)
    assert status("solve", "good.txt") == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("argv", [["--help"], ["encrypt", "-h"], ["solve", "-h"], ["fit", "-h"]])
def test_help(argv, capsys) -> None:
    assert status(*argv) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: decipher")
    assert err == ""


# --- as a shell runs it -------------------------------------------------------------------------


def command() -> list[str]:
    script = shutil.which("decipher", path=str(Path(sys.executable).parent))
    call = "import sys; from decipher.cli import main; sys.exit(main())"
    return [script] if script else [sys.executable, "-c", call]


def test_the_installed_command(files) -> None:
    def run(*argv, **options):
        return subprocess.run(
            [*command(), *argv], capture_output=True, timeout=120, check=False, **options
        )

    encrypted = run("encrypt", "--key", KEY, "good.txt")
    assert encrypted.returncode == 0
    assert encrypted.stderr.decode() == f"key: {KEY}\n"
    solved = run("solve", "--json", input=encrypted.stdout)
    assert solved.returncode == 0
    assert solved.stderr == b""
    assert json.loads(solved.stdout)["plaintext"] == Path("good.txt").read_text()
    wrong = run("solve", "none.txt")
    assert wrong.returncode == 2
    assert wrong.stdout == b""
    assert wrong.stderr.startswith(b"decipher: error: cannot read none.txt")
    assert wrong.stderr.count(b"\n") == 1


def test_a_reader_that_stops_reading(files) -> None:
    Path("long.txt").write_text(Path("good.txt").read_text() * 1000)
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*command(), "encrypt", "--random", "long.txt"],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr
