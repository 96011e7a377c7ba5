"""Which recipe brings a lexinvariant model forward: one change at a time, equal numbers of symbols.

Every run trains the `small` preset with the recipe named in its row and is measured on held-out
text. A row's figures are bits a symbol over the last band of positions of the model's context:

    known       every symbol known (p = 0): how well it knows the language
    half        every symbol unknown with probability 1/2: how well it infers some symbols
    fresh       none known (p = 1): the lexinvariant loss
    seconds     of training

Runs are kept in a folder beside the table and go on where they were stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import Report, benchmark_parser
from tqdm import tqdm

from ciphers.alphabet import LETTERS_SPACE
from decipher.commands import at_least, run
from decipher.lexinvariant.model import PRESETS
from decipher.lexinvariant.recipe import COLD, RECIPES, Curriculum
from decipher.lexinvariant.train import Habits, Trainer

COLUMNS = {
    "recipe": "",
    "symbols": ",d",
    "known": ".3f",
    "half": ".3f",
    "fresh": ".3f",
    "seconds": ".0f",
}

DEFAULT = RECIPES["small"].curriculum
#: Without what was added for deciphering beside the shifted heads.
PLAIN: dict[str, Any] = {"passes": 1, "pointer": 0, "matching": 0}
#: name -> (changes of the recipe, changes of the sizes)
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "cold": ({"curriculum": COLD}, {}),
    "known by vectors": ({"curriculum": replace(DEFAULT, known="vectors")}, {}),
    "one pass": ({}, {"passes": 1}),
    "two passes from the start": ({"one_pass": 0.0}, {}),
    "slow curriculum": ({"curriculum": Curriculum(0.05, 0.5, 0.85)}, {}),
    "no pointer": ({}, {"pointer": 0}),
    "no matching heads": ({}, {"matching": 0}),
    "one pass, no pointer, no matching heads": ({}, PLAIN),
    "the same, known by vectors": ({"curriculum": replace(DEFAULT, known="vectors")}, PLAIN),
    "no shifted heads": ({}, {"shifted_keys": 0, "shifted_values": 0}),
    "shifted keys alone": ({}, {"shifted_keys": 2, "shifted_values": 0}),
    "shifted values alone": ({}, {"shifted_keys": 0, "shifted_values": 2}),
    "rotary on all of a head": ({}, {"rotary": 1.0}),
    "vectors as wide as the stream": ({}, {"vector_width": 128}),
    "vectors of width 27": ({}, {"vector_width": 27}),
    "adamw": ({"optimiser": "adamw"}, {}),
    "half the batch": ({"batch": 512}, {}),
    "four times the batch": ({"batch": 4096}, {}),
    "half the rate": ({"learning_rate": 4e-3, "adamw_rate": 2e-3}, {}),
    "twice the rate": ({"learning_rate": 1.6e-2, "adamw_rate": 8e-3}, {}),
    "8 layers of width 112": ({}, {"layers": 8, "width": 112, "hidden": 448}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run(lambda: _compare(arguments), "recipes.py")


def _parser() -> argparse.ArgumentParser:
    parser = benchmark_parser("recipes", __doc__)
    parser.add_argument(
        "--symbols",
        type=at_least(1024),
        default=1_000_000,
        help="to train each recipe on (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        type=at_least(16),
        default=128,
        help="of all windows, and of the context (default: %(default)s)",
    )
    parser.add_argument(
        "--recipes",
        nargs="+",
        choices=list(VARIANTS),
        default=list(VARIANTS),
        metavar="NAME",
        help=f"{'; '.join(VARIANTS)} (default: all)",
    )
    parser.add_argument("--threads", type=at_least(1), help="(default: all)")
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    return parser


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    report = Report(arguments, COLUMNS)
    for name in tqdm(arguments.recipes, unit="recipe", disable=None):
        folder = arguments.out.with_suffix("") / name.replace(" ", "-")
        report.add(recipe=name, **_train(name, folder, report, arguments))
    report.close()


def _train(
    name: str, folder: Path, report: Report, arguments: argparse.Namespace
) -> dict[str, float]:
    """Train one recipe to its end; its figures."""
    recipe_changes, size_changes = VARIANTS[name]
    trainer = Trainer(
        replace(PRESETS["small"], context=arguments.length, **size_changes),
        LETTERS_SPACE,
        report.corpus,
        replace(
            RECIPES["small"],
            symbols=arguments.symbols,
            lengths=((0.0, arguments.length),),
            seed=arguments.seed,
            **recipe_changes,
        ),
        folder,
        torch.device(arguments.device),
        Habits(validate=10**9, checkpoint=500, progress=False),
    )
    model = trainer.run()
    shares = {0.0: "known", 0.5: "half", 1.0: "fresh"}
    last = [row for row in model.provenance["validation"] if row["last"] == arguments.length]
    bits = {shares[row["share"]]: row["bits"] for row in last}
    about = model.provenance
    absent = dict.fromkeys(shares.values(), float("nan"))
    return absent | bits | {"symbols": about["symbols"], "seconds": about["seconds"]}


if __name__ == "__main__":
    sys.exit(main())
