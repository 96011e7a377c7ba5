"""English, alphabets and keys: the texts and the substitution ciphers that the toolkit works on."""

from ciphers.alphabet import ASCII, LETTERS, LETTERS_SPACE, Alphabet, Layout, get_alphabet
from ciphers.corpora import Corpus, Document, load_corpus
from ciphers.errors import InputError
from ciphers.homophonic import HomophonicKey
from ciphers.keys import Key
from ciphers.samples import Batch, Cryptogram, cryptograms, stream

__all__ = [
    "ASCII",
    "LETTERS",
    "LETTERS_SPACE",
    "Alphabet",
    "Batch",
    "Corpus",
    "Cryptogram",
    "Document",
    "HomophonicKey",
    "InputError",
    "Key",
    "Layout",
    "cryptograms",
    "get_alphabet",
    "load_corpus",
    "stream",
]
