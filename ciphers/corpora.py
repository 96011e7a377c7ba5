"""English to cipher: corpora by name, path or pattern, and their splits.

A corpus is a set of documents. Which split a document belongs to depends on its content alone, so
a document stays where it is when others are added, and two copies of it never part.
"""

# ruff: noqa: RUF001 (curly quotes end sentences too)
from __future__ import annotations

import glob
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ciphers.alphabet import Alphabet, Ids
from ciphers.errors import InputError
from ciphers.files import read_text

BUILT_IN = "built-in"

SPLITS = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
"""The shares of [0, 1) that belong to each split; a document's hash is its place there."""

FEW_DOCUMENTS = 20  # fewer than this cannot be split by document
PASSAGE = 10_000  # characters: about four pages, longer than any context studied here
MIN_PASSAGES = 50


@dataclass(frozen=True)
class Document:
    """A text and its name."""

    name: str
    text: str

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Corpus:
    """One or more documents under a name.

    `train`, `validation` and `test` hold about 80, 10 and 10 per cent of the documents. A corpus of
    fewer than 20 documents is cut into passages first, so that a single book has all three.

    Raises:
        InputError: there is no text in the documents.
    """

    name: str
    documents: tuple[Document, ...]
    _joined: dict[Alphabet, tuple[Ids, NDArray[np.intp]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not any(document.text.strip() for document in self.documents):
            raise InputError(f"corpus {self.name} holds no text: give files with English in them")

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the sorted hashes of the documents, in hexadecimal."""
        hashes = sorted(document.hash for document in self.documents)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    @property
    def characters(self) -> int:
        """The number of characters in all documents."""
        return sum(len(document.text) for document in self.documents)

    @cached_property
    def train(self) -> Corpus:
        """The documents to fit models to; raises `InputError` when there are none."""
        return self._split("train")

    @cached_property
    def validation(self) -> Corpus:
        """The documents to choose settings by; raises `InputError` when there are none."""
        return self._split("validation")

    @cached_property
    def test(self) -> Corpus:
        """The documents to measure on; raises `InputError` when there are none."""
        return self._split("test")

    def encode(self, alphabet: Alphabet) -> list[Ids]:
        """The ids of each document, in order; encoded once for each alphabet, read-only."""
        ids, lengths = self.encode_joined(alphabet)
        return np.split(ids, np.cumsum(lengths)[:-1])

    def encode_joined(self, alphabet: Alphabet) -> tuple[Ids, NDArray[np.intp]]:
        """All documents' ids in one read-only row [n], and each document's length [D]."""
        if alphabet not in self._joined:
            documents = [alphabet.encode(document.text) for document in self.documents]
            ids = np.concatenate(documents)
            ids.flags.writeable = False
            self._joined[alphabet] = ids, np.array([len(d) for d in documents], dtype=np.intp)
        return self._joined[alphabet]

    def _split(self, split: str) -> Corpus:
        low, high = SPLITS[split]
        documents = tuple(d for d in self._pieces if low <= _place(d) < high)
        if not documents:
            raise InputError(
                f"none of the {len(self._pieces)} documents of {self.name} falls into its {split} "
                "split: add more text"
            )
        return Corpus(f"{self.name}/{split}", documents)

    @cached_property
    def _pieces(self) -> tuple[Document, ...]:
        if len(self.documents) >= FEW_DOCUMENTS:
            return self.documents
        size = max(1, min(PASSAGE, self.characters // MIN_PASSAGES))
        return tuple(
            Document(f"{document.name}#{i}", passage)
            for document in self.documents
            for i, passage in enumerate(_passages(document.text, size))
            if passage.strip()
        )


def combine(corpora: Sequence[Corpus], name: str = "") -> Corpus:
    """One corpus of all the documents of several.

    Raises:
        InputError: `corpora` is empty.
    """
    if not corpora:
        raise InputError("there is no corpus to combine: give at least one")
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    return Corpus(name or "+".join(corpus.name for corpus in corpora), documents)


def load_corpus(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Corpus:
    """The corpus that `source` names.

    Args:
        source: "built-in" (the prose of Python's own documentation topics); an NLTK corpus such
            as "brown", found along NLTK's search path or else fetched by NLTK's downloader; a text
            file; a folder (every *.txt under it); a glob pattern; or a list of these. A bare name
            means the NLTK corpus, unless a file of that name exists: write a folder `brown/`.

    Raises:
        InputError: there is no such corpus, it cannot be read, or it holds no text.
    """
    if not isinstance(source, str | os.PathLike):
        return combine([load_corpus(one) for one in source])
    name, documents = _find(os.fspath(source), is_path=not isinstance(source, str))
    return Corpus(name, tuple(document for document in documents if document.text.strip()))


def _find(source: str, is_path: bool) -> tuple[str, Iterator[Document]]:
    """The name and the documents of one source."""
    if source == BUILT_IN and not is_path:
        return BUILT_IN, _built_in()
    if os.path.isfile(source):
        name = os.path.basename(source)
        return name, iter([Document(name, read_text(source))])
    is_path = is_path or os.path.basename(source) != source or os.path.splitext(source)[1] != ""
    if os.path.isdir(source) and is_path:
        return Path(source).resolve().name, _folder(Path(source))
    if glob.has_magic(source):
        return source, _matching(source)
    reader = None if is_path else _nltk_reader(source)
    if reader is not None:
        return source, _nltk_documents(source, reader)
    if os.path.isdir(source):
        return source, _folder(Path(source))
    raise InputError(
        f"there is no corpus {source!r}: it is no file, no folder and no NLTK corpus; give one of "
        f"those, or {BUILT_IN!r}"
    )


def _matching(pattern: str) -> Iterator[Document]:
    files = sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))
    if not files:
        raise InputError(f"no file matches the pattern {pattern!r}: check it")
    for file in files:
        yield Document(file, read_text(file))


def _folder(folder: Path) -> Iterator[Document]:
    files = sorted(file for file in folder.rglob("*.txt") if file.is_file())
    if not files:
        raise InputError(f"folder {folder} holds no *.txt file: put plain text files into it")
    for file in files:
        yield Document(file.relative_to(folder).as_posix(), read_text(file))


def _place(document: Document) -> float:
    """A number in [0, 1), uniform over texts: the leading 52 bits of the document's hash."""
    return int(document.hash[:13], 16) / 16**13


_BREAKS = tuple(re.compile(p) for p in (r"\n\s*\n", r"\n", r"[.!?][\"'”’)]*\s", r"\s"))


def _passages(text: str, size: int) -> Iterator[str]:
    """`text` in passages of `size` characters or somewhat fewer.

    Each ends after the last paragraph in its second half; failing that after the last line,
    sentence or word there.
    """
    start = 0
    while len(text) - start > size:
        ends = (_last_end(pattern, text, start + size // 2, start + size) for pattern in _BREAKS)
        end = next((end for end in ends if end is not None), start + size)
        yield text[start:end]
        start = end
    yield text[start:]


def _last_end(pattern: re.Pattern[str], text: str, start: int, stop: int) -> int | None:
    """Where the last match of `pattern` in text[start:stop] ends."""
    end = None
    for match in pattern.finditer(text, start, stop):
        end = match.end()
    return end


def _built_in() -> Iterator[Document]:
    """The prose of the standard library's documentation topics, each paragraph once.

    Some topics are whole chapters that hold other topics; shortest first, the sections are
    documents of their own and a chapter is what is left.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    for name, text in sorted(topics.items(), key=lambda item: (len(item[1]), item[0])):
        paragraphs = [_prose(paragraph) for paragraph in re.split(r"\n\s*\n", text)]
        fresh = [p for p in dict.fromkeys(paragraphs) if p and p not in seen]
        seen.update(fresh)
        yield Document(name, "\n\n".join(fresh))


_NO_PROSE = re.compile(r"::=|>>>|^\s*\.\.\. |^\s*[|+=*~-]{3}|^\s*[|+]|\(Pdb\)", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[*-]|\d+\.|\[\d+\])\s+")
_EMPHASIS = re.compile(r"\*{1,2}([^\s*][^*]*)\*{1,2}")
_SENTENCE = re.compile(r"[A-Z\"'(“].*[.:!?][\"')”]*", re.DOTALL)


def _prose(paragraph: str) -> str:
    """A paragraph of reStructuredText as one line of prose; empty where it is anything else.

    Code, grammar, tables and headings are no prose: they hold tell-tale signs, form no sentence, or
    are poor in letters.
    """
    if _NO_PROSE.search(paragraph):
        return ""
    text = _EMPHASIS.sub(r"\1", _BULLET.sub("", paragraph))
    text = re.sub(r"\s+", " ", re.sub(r"(?<=\w)-\n\s*(?=\w)", "-", text)).strip()
    letters = sum(character.isalpha() or character == " " for character in text)
    is_prose = _SENTENCE.fullmatch(text) and text.count(" ") >= 7 and letters >= 0.85 * len(text)
    return text if is_prose else ""


def _nltk_reader(name: str) -> Any:
    """The reader of the NLTK corpus `name`, fetched when it is not there; None for no such name."""
    import nltk

    loader = getattr(nltk.corpus, name, None)
    if not isinstance(loader, nltk.corpus.LazyCorpusLoader | nltk.corpus.CorpusReader):
        return None
    try:
        loader.fileids()
    except LookupError:
        _fetch(name)
        try:
            loader.fileids()
        except LookupError as error:
            raise _not_fetched(name) from error
    return loader


def _fetch(name: str) -> None:
    import nltk

    try:
        fetched = nltk.download(name, quiet=True, print_error_to=io.StringIO())
    except (OSError, ValueError) as error:
        raise _not_fetched(name) from error
    if not fetched:
        raise _not_fetched(name)


def _not_fetched(name: str) -> InputError:
    return InputError(
        f"NLTK corpus {name!r} is not here and could not be fetched: run "
        f"'python -m nltk.downloader {name}' where there is a network, or give a file or folder"
    )


def _nltk_documents(name: str, reader: Any) -> Iterator[Document]:
    for file in reader.fileids():
        # Of NLTK's corpora of English, only this one has other languages beside it.
        if name == "genesis" and not file.startswith("english"):
            continue
        if hasattr(reader, "xml"):
            text = "".join(reader.xml(file).itertext())
        elif hasattr(reader, "raw") and not hasattr(reader, "tagged_words"):
            text = reader.raw(file)
        elif hasattr(reader, "paras"):
            text = "\n\n".join(
                " ".join(_detokenise(sentence) for sentence in paragraph)
                for paragraph in reader.paras(file)
            )
        elif hasattr(reader, "words"):
            text = _detokenise(reader.words(file))
        else:
            raise InputError(f"NLTK corpus {name!r} holds no running text: give another")
        yield Document(file, text.replace("\r\n", "\n"))


_DETOKENISE = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([;?!:]) (?=\1)", ""),  # the Brown corpus writes these twice
        (r"(?:``|(?<!\S)`) ?", '"'),
        (r" ?''", '"'),
        (r" (?=[,.;:?!)\]}%])", ""),
        (r"(?<=[(\[{$]) ", ""),
        (r" (?=(?:n't|'(?:s|re|ve|ll|d|m|em))\b)", ""),
    )
)


def _detokenise(words: Sequence[str]) -> str:
    """Words and punctuation marks as prose: marks joined to their words, `` and '' as quotes."""
    text = " ".join(words)
    for pattern, replacement in _DETOKENISE:
        text = pattern.sub(replacement, text)
    return text
