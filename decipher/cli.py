"""The `decipher` command: encrypt, solve, fit an n-gram table, train a transformer, sample it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ciphers.errors import InputError
from decipher.commands import Parser, at_least, leave, run
from decipher.lexinvariant.commands import add_sample, add_train

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ciphers.alphabet import Alphabet
    from ciphers.keys import Key
    from decipher.solution import Solution

PROG = "decipher"
Name = TypeVar("Name", str, int)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run(lambda: arguments.action(arguments), PROG)


def command() -> NoReturn:
    """The installed command."""
    leave(main())


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Make and break simple substitution ciphers of English.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_encrypt(commands)
    _add_solve(commands)
    _add_fit(commands)
    add_train(commands)
    add_sample(commands)
    return parser


# --- encrypt ------------------------------------------------------------------------------------


def _add_encrypt(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "encrypt",
        help="encrypt a text",
        description="Encrypt a text. The ciphertext goes to standard output, the key to standard "
        "error. Case, punctuation and line breaks stay as they are.",
        epilog="example: decipher encrypt letter.txt --random --seed 7",
    )
    parser.set_defaults(action=_encrypt)
    _add_file(parser, "the text to encrypt")
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument(
        "--key", metavar="SYMBOLS", help="cipher symbols in plaintext order, such as qwertyuiop..."
    )
    key.add_argument("--keyword", metavar="WORD", help="a keyword alphabet")
    key.add_argument("--caesar", metavar="SHIFT", type=int, help="shift the alphabet")
    key.add_argument(
        "--affine", metavar=("A", "B"), type=int, nargs=2, help="letter x becomes A x + B"
    )
    key.add_argument("--random", action="store_true", help="a random key (see --seed)")
    parser.add_argument(
        "--seed", type=at_least(0), help="settles the random key (default: a new one every time)"
    )
    parser.add_argument(
        "--spaces",
        choices=("keep", "symbol"),
        default="keep",
        help="keep spaces, or encrypt them as a 27th symbol (default: %(default)s)",
    )
    parser.add_argument(
        "--groups",
        type=at_least(1),
        metavar="N",
        help="write capitals in groups of N and drop all else, as telegraphs did",
    )


def _encrypt(arguments: argparse.Namespace) -> None:
    from ciphers.alphabet import LETTERS, LETTERS_SPACE

    if arguments.groups and arguments.spaces == "symbol":
        raise InputError("groups would break up encrypted spaces: choose --groups or --spaces")
    if arguments.seed is not None and not arguments.random:
        raise InputError("--seed settles a random key: say --random too")
    alphabet = LETTERS if arguments.spaces == "keep" else LETTERS_SPACE
    key = _key(arguments, alphabet)
    text = _read(arguments.file)
    ids = alphabet.encode(text)
    if len(ids) == 0:
        raise InputError("the text has no letters, so there is nothing to encrypt: give a text")
    if arguments.groups:
        letters = alphabet.decode(key.encrypt(ids)).upper()
        n = arguments.groups
        ciphertext = " ".join(letters[i : i + n] for i in range(0, len(letters), n))
    else:
        ciphertext = key.encrypt_text(text)
    sys.stdout.write(ciphertext if ciphertext.endswith("\n") else ciphertext + "\n")
    print(f"key: {key}", file=sys.stderr)


def _key(arguments: argparse.Namespace, alphabet: Alphabet) -> Key:
    import numpy as np

    from ciphers.keys import Key

    if arguments.key is not None:
        return Key.from_text(alphabet, arguments.key)
    if arguments.keyword is not None:
        return Key.keyword(alphabet, arguments.keyword)
    if arguments.caesar is not None:
        return Key.caesar(alphabet, arguments.caesar)
    if arguments.affine is not None:
        return Key.affine(alphabet, *arguments.affine)
    return Key.random(alphabet, np.random.default_rng(arguments.seed))


# --- solve --------------------------------------------------------------------------------------


def _add_solve(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "solve",
        help="solve a cryptogram",
        description="Solve a substitution cipher of English, and say which letters to trust.",
        epilog="example: decipher solve cryptogram.txt --known X=e --word 17=attack",
    )
    parser.set_defaults(action=_solve)
    _add_file(parser, "the cryptogram")
    parser.add_argument(
        "--spaces",
        choices=("auto", "boundaries", "ignore", "symbol"),
        default="auto",
        help="what the text's spaces are: the ends of words, of no meaning, or a cipher symbol "
        "like the letters; auto takes them as ends of words unless the text comes in groups of "
        "one length (default: %(default)s)",
    )
    parser.add_argument(
        "--symbols",
        choices=("letters", "any", "groups"),
        help="the cipher symbols: the letters a to z, any sign but white space, or the groups "
        "between white space, as in 17 04 22 (default: letters, or any with --homophonic)",
    )
    parser.add_argument(
        "--homophonic",
        action="store_true",
        help="several cipher symbols may stand for one letter; spaces are ignored",
    )
    parser.add_argument(
        "--known",
        metavar="X=e",
        type=_known,
        action="append",
        default=[],
        help="cipher X is plain e; XLJ=the gives several at once (may be repeated)",
    )
    parser.add_argument(
        "--word",
        metavar="PLACE=WORD",
        type=_word,
        action="append",
        default=[],
        help="a known word and the letter of the cryptogram it begins at, counted from 1 "
        "(may be repeated)",
    )
    parser.add_argument(
        "--ngram",
        metavar="TABLE",
        help="n-gram table: letters, letters-space, or a file (default: the shipped one that fits)",
    )
    parser.add_argument(
        "--decipherer",
        metavar="NAME",
        help="the method: smc, the posterior by annealed sampling; tempering, the same by parallel "
        "tempering, slower; enumerate, exact, for texts of few distinct symbols; astar, the best "
        "key with a proof, no doubts; unigram, exact, by letter counts alone; ngram, a fast "
        "search; frequency (default: smc; none with --homophonic)",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        help="settles every random choice (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def _solve(arguments: argparse.Namespace) -> None:
    from decipher.ngram import load_ngram
    from decipher.solution import Cryptogram, solve

    text = _read(arguments.file)
    model = None
    if arguments.ngram is not None:
        read = Cryptogram.read(text, arguments.spaces, arguments.symbols, arguments.homophonic)
        model = load_ngram(arguments.ngram, read.alphabet)
    solution = solve(
        text,
        spaces=arguments.spaces,
        symbols=arguments.symbols,
        homophonic=arguments.homophonic,
        known=_one_each(arguments.known, "known letter"),
        words=_one_each(arguments.word, "place"),
        model=model,
        method=arguments.decipherer,
        seed=arguments.seed,
    )
    if arguments.json:
        json.dump(solution.as_dict(), sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        _print_solution(solution)


def _one_each(pairs: list[tuple[Name, str]], what: str) -> dict[Name, str]:
    found: dict[Name, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise InputError(
                f"the {what} {name} is given twice, as {found[name]} and {value}: drop one"
            )
    return found


def _print_solution(solution: Solution) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(_marked(solution))
    console.print()
    for name, row in _key_rows(solution):
        console.print(Text.assemble((f"{name:>8}  ", "dim"), row))
    console.print()
    if solution.knows_doubt:
        _print_doubts(solution, console)
    else:
        console.print(Text(_without_doubts(solution)))


def _key_rows(solution: Solution) -> list[tuple[str, str]]:
    """The key as rows and their names: the letters and their signs, or the signs over letters."""
    if solution.cryptogram.homophonic:
        return [(letter, " ".join(signs)) for letter, signs in solution.homophones.items()]
    rows = {"cipher": list(solution.mapping), "plain": list(solution.mapping.values())}
    if solution.knows_doubt:
        rows["trust"] = [_grade(p) for p in solution.confidence.values()]
    width = max(map(len, solution.mapping))
    gap = " " if width > 1 else ""
    return [
        (name, gap.join(f"{_shown(symbol):>{width}}" for symbol in row))
        for name, row in rows.items()
    ]


def _print_doubts(solution: Solution, console: Console) -> None:
    """How many letters are expected to be right, which are certain, and what the others may be."""
    from rich.text import Text

    from decipher.solution import CERTAIN

    marks = (
        "" if solution.cryptogram.homophonic else " Trust: * 99% and more, + 90%, - 50%, ? less."
    )
    accuracy = f"{solution.expected_accuracy:.1%} of the letters are expected to be right."
    console.print(Text(accuracy + marks, "dim"))
    console.print()
    certain, total = solution.certain, len(solution.mapping)
    if len(certain) == total:
        console.print(f"All symbols are certain to {CERTAIN:.0%}.")
        return
    if certain:
        names = ("" if max(map(len, certain)) == 1 else " ").join(map(_shown, certain))
        are = "is" if len(certain) == 1 else "are"
        says = f"{len(certain)} of the {total} symbols {are} certain to {CERTAIN:.0%}: "
        console.print(Text(says + names))
        others = "others" if total - len(certain) > 1 else "other"
        console.print(f"What the {others} may be:")
    else:
        console.print(f"No symbol is certain to {CERTAIN:.0%}. What they may be:")
    for name, letters in solution.alternatives.items():
        options = ", ".join(f"{_shown(letter)} {_percent(p)}" for letter, p in letters[:5])
        more = " ..." if len(letters) > 5 else ""
        console.print(Text(f"  {_shown(name)} = {options}{more}"))


def _without_doubts(solution: Solution) -> str:
    """What there is to say of a method that gives one key and no probabilities."""
    info = solution.posterior.info
    proof = ""
    if "certified" in info:
        proof = "Proven: no key is more probable."
        if not info["certified"]:
            proof = (
                "Not proven: another key may be more probable by at most "
                f"{max(info['gap'], 0):.1f} nats."
            )
        proof += "\n"
    return (
        f"{proof}The method {solution.run['method']} gives one key and no probabilities: smc tells "
        "which letters to trust."
    )


def _marked(solution: Solution) -> Text:
    """The plaintext, with the letters that are not certain underlined on a terminal."""
    from rich.text import Text

    from decipher.solution import CERTAIN

    text = Text(solution.plaintext.rstrip("\n"))
    cryptogram = solution.cryptogram
    if len(solution.plaintext) == len(cryptogram.layout.text):  # else places have moved
        decoding = solution.posterior.decode(cryptogram.ids)
        for position, p in zip(cryptogram.layout.positions, decoding.confidence, strict=True):
            if p < CERTAIN:
                text.stylize("underline" if p >= 0.5 else "underline red", position, position + 1)
    return text


def _shown(symbol: str) -> str:
    """A cipher or plain symbol; the space made visible."""
    return "␣" if symbol == " " else symbol


def _grade(p: float) -> str:
    return "*" if p >= 0.99 else "+" if p >= 0.9 else "-" if p >= 0.5 else "?"


def _percent(p: float) -> str:
    # Rounded down: what is not certain to 99% must not show as 99%.
    return f"{int(100 * p)}%" if p >= 0.01 else "<1%"


# --- fit ----------------------------------------------------------------------------------------


def _add_fit(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "fit",
        help="estimate an n-gram table",
        description="Estimate a character n-gram table (interpolated modified Kneser-Ney) from "
        "one or more corpora, and report how well it predicts their validation split.",
        epilog="example: decipher fit novels/ brown --alphabet letters --order 5 --out en.npz",
    )
    parser.set_defaults(action=_fit)
    parser.add_argument(
        "corpus",
        nargs="+",
        metavar="CORPUS",
        help="built-in, the name of an NLTK corpus, a text file, a folder or a pattern",
    )
    parser.add_argument(
        "--alphabet",
        choices=("letters", "letters-space", "ascii"),
        default="letters",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--order", type=int, default=5, help="symbols in an n-gram, 1 to 6 (default: %(default)s)"
    )
    parser.add_argument(
        "--split",
        choices=("train", "all"),
        default="train",
        help="estimate from the training split, so that the others stay unseen, or from all "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the table to write: FILE.npz, or FILE.arpa for other programs",
    )


def _fit(arguments: argparse.Namespace) -> None:
    from ciphers.alphabet import get_alphabet
    from ciphers.corpora import load_corpus
    from decipher.ngram import NGramModel, check_order

    check_order(arguments.order)
    if not arguments.out.endswith((".npz", ".arpa")):
        raise InputError(f"cannot tell the format of {arguments.out}: end it in .npz or .arpa")
    alphabet = get_alphabet(arguments.alphabet)
    corpus = load_corpus(arguments.corpus)
    part = corpus.train if arguments.split == "train" else corpus
    model = NGramModel.estimate(
        part.encode(alphabet),
        alphabet,
        arguments.order,
        {"corpus": part.name, "corpus_hash": part.hash},
    )
    report = ""
    if arguments.split == "train":  # before anything is written, for there may be no such split
        bits = model.bits_per_symbol(corpus.validation.encode(alphabet))
        report = f"validation: {bits:.4f} bits a symbol, perplexity {2**bits:.3f}"
    if arguments.out.endswith(".arpa"):
        model.to_arpa(arguments.out)
    else:
        model.save(arguments.out)
    about = model.provenance
    print(
        f"{arguments.out}: order {model.order} over {alphabet.size} symbols, from "
        f"{about['symbols']:,} symbols of {about['corpus']} ({about['documents']} documents)"
    )
    if report:
        print(report)


# --- shared -------------------------------------------------------------------------------------


def _add_file(parser: Parser, what: str) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help=f"{what}; - reads standard input (default: %(default)s)",
    )


def _read(name: str) -> str:
    from ciphers.files import read_text, text_from_bytes

    if name == "-":
        return text_from_bytes(sys.stdin.buffer.read(), "standard input")
    return read_text(name)


def _known(value: str) -> tuple[str, str]:
    cipher, equals, plain = value.rpartition("=")  # the last: it may be a cipher symbol too
    if not (cipher and equals and plain):
        raise argparse.ArgumentTypeError(f"{value!r} is not of the form X=e")
    return cipher, plain


def _word(value: str) -> tuple[int, str]:
    place, equals, word = value.partition("=")
    if not (place.isdecimal() and equals and word):
        raise argparse.ArgumentTypeError(f"{value!r} is not of the form 17=attack")
    return int(place), word


if __name__ == "__main__":  # for torchrun
    command()
