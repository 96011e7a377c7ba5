from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciphers import LETTERS, LETTERS_SPACE, Corpus, Document, InputError, load_corpus
from ciphers.corpora import PASSAGE, _detokenise, combine

PROSE = "It was a dark and stormy night; the rain fell in torrents. "


def many(count: int, seed: int = 0) -> tuple[Document, ...]:
    return tuple(Document(f"{i}", f"{PROSE} {seed} {i}") for i in range(count))


def splits(corpus: Corpus) -> dict[str, list[Document]]:
    return {
        "train": list(corpus.train.documents),
        "validation": list(corpus.validation.documents),
        "test": list(corpus.test.documents),
    }


def test_document_hash() -> None:
    assert Document("a", "é").hash == hashlib.sha256("é".encode()).hexdigest()


def test_corpus_hash_is_of_the_texts_alone() -> None:
    documents = many(5)
    corpus = Corpus("one", documents)
    renamed = tuple(Document("x" + d.name, d.text) for d in documents)
    assert corpus.hash == Corpus("two", renamed[::-1]).hash
    assert corpus.hash != Corpus("one", documents[1:]).hash
    assert corpus.characters == sum(len(d.text) for d in documents)


@pytest.mark.parametrize("documents", [(), (Document("a", " \n"),)])
def test_a_corpus_holds_text(documents: tuple[Document, ...]) -> None:
    with pytest.raises(InputError, match="holds no text"):
        Corpus("empty", documents)


def test_splits_are_disjoint_cover_all_and_have_their_shares() -> None:
    corpus = Corpus("c", many(5000))
    parts = splits(corpus)
    names = [d.name for part in parts.values() for d in part]
    assert sorted(names) == sorted(d.name for d in corpus.documents)
    shares = [len(part) / 5000 for part in parts.values()]
    # Standard errors are 0.006 and 0.004: this leaves five of them.
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.028)
    assert [corpus.train.name, corpus.validation.name] == ["c/train", "c/validation"]
    assert corpus.test.name == "c/test"


def test_splits_are_stable_when_documents_are_added() -> None:
    before = splits(Corpus("c", many(100)))
    after = splits(Corpus("c", many(100, seed=1) + many(100)[::-1]))
    for name, documents in before.items():
        assert set(documents) <= set(after[name])


def test_copies_never_straddle() -> None:
    copies = tuple(Document("copy " + d.name, d.text) for d in many(200))
    texts = [{d.text for d in part} for part in splits(Corpus("c", many(200) + copies)).values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 200


@pytest.mark.parametrize("length", [5_000, 100_000, 2_000_000])
def test_one_text_has_all_splits_and_loses_nothing(length: int) -> None:
    text = "".join(
        f"Sentence {i} of a long book. " + "\n\n" * (i % 7 == 0) for i in range(length // 25)
    )
    corpus = Corpus("book", (Document("book", text),))
    parts = splits(corpus)
    passages = [d for part in parts.values() for d in part]
    passages.sort(key=lambda d: int(d.name.partition("#")[2]))
    assert "".join(d.text for d in passages) == text
    assert len(passages) >= 50
    assert max(len(d.text) for d in passages) <= PASSAGE
    assert all(d.text.rstrip().endswith(".") for d in passages)


def test_passages_prefer_paragraphs_then_lines_then_sentences_then_words() -> None:
    def first(text: str) -> str:
        corpus = Corpus("c", (Document("d", text + "z" * 50 * 100),))
        return corpus._pieces[0].text

    filler = "x" * 60
    assert first(f"{filler}. a\n\nb\nc. d e") == f"{filler}. a\n\n"
    assert first(f"{filler}. a\nc. d e") == f"{filler}. a\n"
    assert first(f"{filler}. a c.) d e") == f"{filler}. a c.) "
    assert first(f"{filler} a c d e") == f"{filler} a c d "
    assert 100 <= len(first(filler)) <= 101


def test_an_empty_split_says_what_to_do() -> None:
    corpus = Corpus("copies", tuple(Document(str(i), PROSE) for i in range(30)))
    with pytest.raises(InputError, match="add more text"):
        splits(corpus)


@given(st.text(st.sampled_from("abc. \n\u3000\ud800"), min_size=1, max_size=300))
def test_any_text_splits_or_says_why(text: str) -> None:
    try:
        corpus = Corpus("c", (Document("d", text),))
        parts = splits(corpus)
    except InputError:
        return
    assert sum(d.text.count("a") for part in parts.values() for d in part) == text.count("a")


def test_encode() -> None:
    corpus = Corpus("c", many(3))
    encoded = corpus.encode(LETTERS)
    assert [LETTERS.decode(ids) for ids in encoded] == [
        LETTERS.normalise(d.text) for d in corpus.documents
    ]
    assert all(not ids.flags.writeable for ids in encoded)
    assert np.shares_memory(corpus.encode(LETTERS)[1], encoded[1])
    assert len(corpus.encode(LETTERS_SPACE)[0]) > len(encoded[0])


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_bytes(b"\xef\xbb\xbfOne\r\ntwo")
    for source in (file, str(file), [file]):
        corpus = load_corpus(source)
        assert corpus.name == "book.txt"
        assert corpus.documents == (Document("book.txt", "One\ntwo"),)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("two")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other.md").write_text("other")
    expected = (Document("b/two.txt", "two"), Document("one.txt", "one"))
    assert load_corpus(tmp_path).documents == expected
    assert load_corpus(f"{tmp_path}/").documents == expected
    assert load_corpus(tmp_path).name == tmp_path.name


def test_a_pattern(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        (tmp_path / f"{name}.txt").write_text(name)
    corpus = load_corpus(f"{tmp_path}/a*.txt")
    assert [d.text for d in corpus.documents] == ["a1", "a2"]
    with pytest.raises(InputError, match="no file matches"):
        load_corpus(f"{tmp_path}/c*.txt")


def test_several_sources(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    corpus = load_corpus([f"{tmp_path}/a/", f"{tmp_path}/b/"])
    assert corpus.name == "a+b"
    assert [d.text for d in corpus.documents] == ["a", "b"]
    assert combine([corpus, corpus], "twice").characters == 4
    with pytest.raises(InputError, match="give at least one"):
        load_corpus([])


def test_bad_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    for source, message in [
        ("no-such-corpus", "no file, no folder and no NLTK corpus"),
        ("no/such", "there is no corpus"),
        (Path("brown"), "there is no corpus"),
        ("", "there is no corpus"),
        ("reader", "there is no corpus"),
        ("x" * 5000, "there is no corpus"),
        ("empty/", r"no \*.txt file"),
        ("empty", r"no \*.txt file"),
        ("blank.txt", "holds no text"),
        ("latin.txt", "not UTF-8"),
        ("binary.txt", "binary"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            load_corpus(source)
        assert "\n" not in str(caught.value)


@given(st.binary(min_size=1))
def test_any_file_loads_or_says_why(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.txt"
    file.write_bytes(data)
    try:
        corpus = load_corpus(file)
    except InputError:
        return
    assert corpus.characters == len(corpus.documents[0].text) > 0


@given(st.text(st.characters(codec=None, exclude_characters="*/"), min_size=1))
def test_any_name_loads_or_says_why(source: str) -> None:
    with pytest.raises(InputError):
        load_corpus(source + "\N{SNOWMAN}")


def test_built_in_is_prose() -> None:
    corpus = load_corpus("built-in")
    assert len(corpus.documents) > 50
    assert corpus.characters > 200_000
    splits(corpus)
    paragraphs = [p for d in corpus.documents for p in d.text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    text = "\n".join(paragraphs)
    for mark in ("::=", ">>>", "****", "====", "----", "+--"):
        assert mark not in text
    shares = np.bincount(LETTERS.encode(text), minlength=26) / len(LETTERS.encode(text))
    assert shares.argmax() == LETTERS.index("e")
    # English prose has letters and spaces in about 95 of 100 characters.
    assert len(LETTERS_SPACE.encode(text)) / len(text) > 0.93


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("`` Hello '' , he said .", '"Hello", he said.'),
        ("Who ? ? `` Me ! ! ''", 'Who? "Me!"'),
        ("( one ; ; two ) $ 5", "(one; two) $5"),
        ("do n't it 's well", "don't it's well"),
        ("a : b -- c", "a: b -- c"),
    ],
)
def test_detokenise(words: str, text: str) -> None:
    assert _detokenise(words.split()) == text


def test_nltk_corpus_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    fetched: list[str] = []

    def refuse(name: str, **_: object) -> bool:
        fetched.append(name)
        return False

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(nltk, "download", refuse)
    with pytest.raises(InputError, match=r"nltk\.downloader gutenberg") as caught:
        load_corpus("gutenberg")
    assert fetched == ["gutenberg"]
    assert "\n" not in str(caught.value)


def test_brown_reads_as_prose(nltk_data: Path) -> None:
    import nltk

    file = nltk.corpus.brown.fileids()[0]
    words = nltk.corpus.brown.words(file)
    from ciphers.corpora import _nltk_documents

    document = next(iter(_nltk_documents("brown", nltk.corpus.brown)))
    assert document.name == file
    assert document.text.startswith("The Fulton County Grand Jury said Friday an investigation of")
    assert 'produced "no evidence" that any irregularities took place.\n\n' in document.text
    assert "``" not in document.text
    assert " ," not in document.text
    # Not a word is lost or made up.
    assert LETTERS.normalise(document.text) == LETTERS.normalise(" ".join(words))


def test_other_nltk_corpora(nltk_data: Path) -> None:
    genesis = load_corpus("genesis")
    assert all(d.name.startswith("english") for d in genesis.documents)
    assert genesis.documents[0].text.startswith("In the beginning God created")
    shakespeare = load_corpus("shakespeare")
    assert (
        "To be, or not to be: that is the question:"
        in combine([shakespeare])
        .documents[[d.name for d in shakespeare.documents].index("hamlet.xml")]
        .text
    )
    assert "<" not in shakespeare.documents[0].text
    assert len(load_corpus("state_union").documents) > 50


def test_a_file_goes_before_an_nltk_name(
    nltk_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("genesis")
    Path("genesis", "mine.txt").write_text("my own text")
    assert len(load_corpus("genesis").documents) == 2
    assert load_corpus("genesis/").documents[0].text == "my own text"
    Path("inaugural").write_text("my own text")
    assert load_corpus("inaugural").documents[0].text == "my own text"


def test_novels(novels: Path) -> None:
    corpus = load_corpus(novels)
    assert len(corpus.documents) == 90
    assert corpus.characters > 60_000_000
    assert sum(len(part) for part in splits(corpus).values()) == 90
