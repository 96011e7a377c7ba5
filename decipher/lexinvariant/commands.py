"""The commands `decipher train` and `decipher sample`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ciphers.errors import InputError
from decipher.commands import Parser, at_least

if TYPE_CHECKING:
    from decipher.lexinvariant.model import Config, Transformer
    from decipher.lexinvariant.recipe import Curriculum, Recipe

#: As in model.PRESETS, which would need torch to be looked at; a test holds them together.
PRESETS = ("tiny", "small", "base", "paper")


# --- train --------------------------------------------------------------------------------------


def add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the subcommand `train`."""
    parser = commands.add_parser(
        "train",
        help="train a transformer on plain text",
        description="Train a transformer whose symbols have learned vectors (the standard language "
        "model), fresh random ones in every sequence (lexinvariant), or a mixture. A run that was "
        "stopped goes on with the same command. On several GPUs or machines: torchrun "
        "--nproc-per-node 8 -m decipher.cli train ...",
        epilog="example: decipher train --preset small --embedding lexinvariant --corpus novels/ "
        "brown --alphabet letters-space",
    )
    parser.set_defaults(action=_train)
    add = parser.add_argument
    add(
        "--preset",
        default="small",
        metavar="NAME",
        help=f"{', '.join(PRESETS)}: the sizes, and a "
        "recipe that suits them (default: %(default)s)",
    )
    add(
        "--embedding",
        default="lexinvariant",
        metavar="KIND",
        help="learned, lexinvariant or mixed (default: %(default)s)",
    )
    add(
        "--corpus",
        nargs="+",
        default=["built-in"],
        metavar="CORPUS",
        help="built-in, the name of an NLTK corpus, a text file, a folder or a pattern "
        "(default: %(default)s)",
    )
    add(
        "--alphabet",
        choices=("letters", "letters-space", "ascii"),
        default="letters-space",
        help="(default: %(default)s)",
    )
    add("--out", metavar="FOLDER", help="where the run is kept (default: runs/PRESET-EMBEDDING)")
    add(
        "--publish",
        metavar="FILE",
        type=Path,
        help="write the trained model there too, in bfloat16: half the size",
    )
    add(
        "--from",
        dest="initial",
        metavar="WEIGHTS",
        help="begin with trained weights: a shipped name or a file",
    )
    add(
        "--device",
        default="auto",
        help="cpu, cuda, mps; auto takes a GPU where there is one (default: %(default)s)",
    )
    add("--threads", type=at_least(1), metavar="N", help="CPU threads (default: all)")
    add("--seed", type=_seed, help="settles weights, windows and vectors (default: 0)")

    plan = parser.add_argument_group("recipe", "What is not given is the preset's.")
    add = plan.add_argument
    add("--symbols", type=at_least(1), metavar="N", help="to train on, in all")
    add("--batch", type=at_least(1), metavar="N", help="symbols of one step")
    add(
        "--lengths",
        nargs="+",
        type=_length,
        metavar="SHARE:N",
        help="windows have N symbols from that share of the training on, such as 0:128 0.6:256",
    )
    add(
        "--one-pass",
        type=float,
        metavar="SHARE",
        help="until that share of the training the text goes through the blocks once",
    )
    add("--optimiser", choices=("muon", "adamw"))
    add("--learning-rate", type=float, metavar="X", help="of Muon")
    add("--adamw-rate", type=float, metavar="X", help="of AdamW")
    add("--warmup", type=at_least(0), metavar="STEPS")
    add("--cooldown", type=float, metavar="SHARE", help="of the training, at its end")
    add("--weight-decay", type=float, metavar="X")
    add("--clip", type=float, metavar="NORM", help="the largest norm of the gradient; 0: any")
    add(
        "--curriculum",
        nargs=3,
        type=float,
        metavar=("HOLD", "FULL", "ALONE"),
        help="shares of the training: until HOLD all symbols are known, from FULL on a sequence "
        "may have any share of unknown ones, from ALONE on all are unknown",
    )
    add(
        "--known",
        choices=("hints", "vectors"),
        help="how the curriculum tells a symbol: by a mark beside its fresh vector, or by a "
        "learned vector",
    )
    add("--cold", action="store_true", help="no curriculum: no symbol is known from the start")
    add("--random-share", type=float, metavar="P", help="of fresh vectors, for --embedding mixed")
    add("--precision", choices=("float32", "bfloat16"))
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let torch.compile fuse what it can; needs a C++ compiler on a CPU",
    )

    habits = parser.add_argument_group(
        "habits", "Steps between what is written; no weight changes."
    )
    habits.add_argument(
        "--log", type=at_least(1), default=20, metavar="STEPS", help="(default: %(default)s)"
    )
    habits.add_argument(
        "--validate", type=at_least(1), default=500, metavar="STEPS", help="(default: %(default)s)"
    )
    habits.add_argument(
        "--checkpoint",
        type=at_least(1),
        default=200,
        metavar="STEPS",
        help="(default: %(default)s)",
    )


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ciphers.alphabet import get_alphabet
    from ciphers.corpora import load_corpus
    from decipher.lexinvariant.checkpoint import get_device, load, save
    from decipher.lexinvariant.train import MODEL, Habits, Trainer, processes

    config, recipe = _plan(arguments)
    device = get_device(arguments.device)
    alphabet = get_alphabet(arguments.alphabet)
    initial = None
    if arguments.initial is not None:
        initial = load(arguments.initial, alphabet=alphabet)
    folder = Path(arguments.out or f"runs/{arguments.preset}-{arguments.embedding}")
    corpus = load_corpus(arguments.corpus)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    with processes(device) as (rank, device):
        trainer = Trainer(
            config,
            alphabet,
            corpus,
            recipe,
            folder,
            device,
            Habits(arguments.log, arguments.validate, arguments.checkpoint),
            rank,
            initial,
            {"preset": arguments.preset, "initial": arguments.initial},
        )
        model = trainer.run()
    if rank.writes:
        if arguments.publish is not None:
            save(model, arguments.publish, dtype=torch.bfloat16)
        _report(model, folder / MODEL)


def _plan(arguments: argparse.Namespace) -> tuple[Config, Recipe]:
    """The sizes and the recipe: the preset's, with what the command says instead."""
    from decipher.lexinvariant.model import preset
    from decipher.lexinvariant.recipe import RECIPES

    if arguments.embedding == "hinted":
        raise InputError(
            "a hinted model is what a lexinvariant one learns as: give --embedding lexinvariant "
            "--known hints"
        )
    config = preset(arguments.preset, arguments.embedding)
    if arguments.random_share is not None:
        if arguments.embedding != "mixed":
            raise InputError("a random share is for --embedding mixed: choose that, or drop it")
        config = replace(config, random_share=arguments.random_share)
    recipe = RECIPES[arguments.preset]
    names = (
        "symbols",
        "batch",
        "one_pass",
        "optimiser",
        "learning_rate",
        "adamw_rate",
        "warmup",
        "cooldown",
        "weight_decay",
        "clip",
        "precision",
        "compile",
        "seed",
    )
    given = {name: getattr(arguments, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.lengths is not None:
        changes["lengths"] = tuple(arguments.lengths)
    return config, replace(recipe, curriculum=_curriculum(arguments, recipe), **changes)


def _curriculum(arguments: argparse.Namespace, recipe: Recipe) -> Curriculum:
    from decipher.lexinvariant.recipe import COLD

    curriculum = recipe.curriculum
    given = [name for name in ("curriculum", "known", "cold") if getattr(arguments, name)]
    if given and arguments.embedding != "lexinvariant":
        raise InputError(
            f"--{given[0]} is for --embedding lexinvariant, which alone has a curriculum: drop it"
        )
    if arguments.cold and len(given) > 1:
        raise InputError(f"--cold is the curriculum 0 0 0: give one of --cold and --{given[0]}")
    if arguments.cold:
        return COLD
    if arguments.curriculum is not None:
        hold, full, alone = arguments.curriculum
        curriculum = replace(curriculum, hold=hold, full=full, alone=alone)
    return replace(curriculum, known=arguments.known) if arguments.known else curriculum


def _report(model: Transformer, path: Path) -> None:
    about = model.provenance
    print(
        f"{path}: {model.config.embedding}, {sum(p.numel() for p in model.parameters()):,} "
        f"weights, {about['symbols']:,} symbols in {about['seconds']:,} s"
    )
    print("validation, bits a symbol:")
    for row in about["validation"]:
        print(
            f"  p = {row['share']:g}, positions {row['first']:>3.0f} to {row['last']:>3.0f}: "
            f"{row['bits']:.3f}"
        )


def _length(text: str) -> tuple[float, int]:
    share, colon, length = text.partition(":")
    try:
        pair = float(share), int(length)
    except ValueError:
        colon = ""
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0.5:256")
    return pair


def _seed(text: str) -> int:
    seed = at_least(0)(text)
    if seed >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed of torch: give less than 2^63")
    return seed


# --- sample -------------------------------------------------------------------------------------


def add_sample(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the subcommand `sample`."""
    parser = commands.add_parser(
        "sample",
        help="let a transformer go on with a text",
        description="Let a trained transformer go on with a text. What a lexinvariant model writes "
        "is in the alphabet of its prompt: given a ciphertext it goes on in cipher.",
        epilog="example: decipher sample --model letters-space-standard --prompt 'it was a dark'",
    )
    parser.set_defaults(action=_sample)
    add = parser.add_argument
    add(
        "--model",
        default="letters-space-standard",
        metavar="NAME",
        help="a shipped name or a file (default: %(default)s)",
    )
    add("--prompt", default="", metavar="TEXT", help="the text to go on with (default: none)")
    add(
        "--length",
        type=at_least(1),
        default=200,
        metavar="N",
        help="symbols to add (default: %(default)s)",
    )
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="X",
        help="below 1 for the more probable; 0 for the most probable (default: %(default)s)",
    )
    add("--count", type=at_least(1), default=1, metavar="N", help="texts (default: %(default)s)")
    add(
        "--seed",
        type=_seed,
        default=0,
        help="settles every random choice (default: %(default)s)",
    )
    add("--device", default="cpu", help="(default: %(default)s)")


def _sample(arguments: argparse.Namespace) -> None:
    import torch

    from decipher.lexinvariant.checkpoint import load

    model = load(arguments.model, arguments.device)
    ids = torch.tensor(model.alphabet.encode(arguments.prompt), device=model.device)
    generator = torch.Generator(model.device).manual_seed(arguments.seed)
    texts = model.sample(
        ids.repeat(arguments.count, 1),
        arguments.length,
        generator,
        temperature=arguments.temperature,
    )
    for text in texts.cpu().numpy():
        print(model.alphabet.decode(text))
