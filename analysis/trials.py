"""Ciphertexts with known solutions, and decipherers set to read them side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

import joblib
import numpy as np
from tqdm import tqdm

from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.samples import cryptograms
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import Decipherer, KeyPosterior

T = TypeVar("T")


class Factory(Protocol):
    """Makes a decipherer that takes all its random numbers from `rng`."""

    def __call__(self, *, rng: np.random.Generator) -> Decipherer: ...


Contestant = str | Decipherer | Factory
"""What can be measured: a name known to `make_decipherer`, a decipherer that draws no random
numbers, or a factory of one that does (each ciphertext gets a generator of its own)."""

CHUNK = 10
"""Ciphertexts a task: few enough to spread over a cluster, enough to outweigh the sending."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A ciphertext [n] with its solution [n], its number, and the seed for its decipherment."""

    number: int
    ciphertext: Ids
    plaintext: Ids
    seed: np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class Reading:
    """What a decipherer, known by its label, made of a trial, and the seconds it took; beside it
    the language model of the contest."""

    decipherer: str
    trial: Trial
    posterior: KeyPosterior
    seconds: float
    model: NGramModel | None


@dataclass(frozen=True, eq=False)
class Contest:
    """Decipherers and the ciphertexts that each of them reads.

    Attributes:
        contestants: label -> what to measure under it.
        trials: the ciphertexts.
        model: the language model of contestants given by name.
        known: cipher ids whose plain ids those are told.
    """

    contestants: Mapping[str, Contestant]
    trials: Sequence[Trial]
    model: NGramModel | None = None
    known: Mapping[int, int] = field(default_factory=dict)

    def read(
        self,
        observe: Callable[[Reading], T],
        *,
        jobs: int | None = None,
        progress: bool | None = None,
    ) -> list[T]:
        """What `observe` makes of each reading, contestant by contestant.

        Args:
            observe: called where the reading was made, so that no posterior travels between
                processes; a function of a module, or a `partial` of one.
            jobs: how many ciphertexts at a time, -1 for one a core; by default what
                `joblib.parallel_config` says, else 1.
            progress: whether to show a bar; by default where standard error is a terminal.
        """
        # Here and not only in the tasks: what cannot run should fail before the long work, and
        # what compiles or fills tables should do it once and not in each thread.
        for contestant in self.contestants.values():
            _warm_up(contestant, self.trials[0], self.model, self.known)
        tasks = (
            joblib.delayed(_read_chunk)(
                label, contestant, self.trials[i : i + CHUNK], observe, self.model, self.known
            )
            for label, contestant in self.contestants.items()
            for i in range(0, len(self.trials), CHUNK)
        )
        # Compiled searches release the GIL, so threads serve, and need nothing copied to them.
        backend, _ = joblib.parallel.get_active_backend(prefer="threads")
        # A backend such as Ray's hands all results over at the end, and the bar waits for them.
        return_as = "generator" if backend.supports_return_generator else "list"
        chunks = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as=return_as)(tasks)
        observed: list[T] = []
        with tqdm(
            total=len(self.contestants) * len(self.trials),
            desc="deciphering",
            unit="cipher",
            disable=None if progress is None else not progress,
        ) as bar:
            for chunk in chunks:
                observed += chunk
                bar.update(len(chunk))
        return observed


def contest(
    decipherers: Iterable[str] | Mapping[str, Contestant],
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    lengths: Sequence[int],
    ciphers: int = 200,
    seed: int = 0,
    *,
    model: NGramModel | None = None,
    fixed: str = "",
    jobs: int | None = None,
) -> Contest:
    """A contest over windows of a corpus, each under a key of its own.

    The arguments are those of `accuracy_curve`; of `jobs` it is only checked that they can work.

    Raises:
        InputError: an argument makes no sense, or no document is as long as a length.
    """
    contestants = _contestants(decipherers)
    lengths = list(dict.fromkeys(lengths))
    _check_numbers(lengths, ciphers, seed, jobs)
    if model is None and any(isinstance(one, str) for one in contestants.values()):
        model = load_ngram(alphabet.name)
    if model is not None and model.alphabet != alphabet:
        raise InputError(
            f"the n-gram model is over the alphabet {model.alphabet}, not {alphabet}: "
            "choose a model or an alphabet that fit together"
        )
    known = {int(i): int(i) for i in alphabet.indices(fixed)}
    trials = [
        trial
        for length in lengths
        for trial in _trials(corpus, alphabet, length, ciphers, seed, fixed)
    ]
    return Contest(contestants, trials, model, known)


def _read_chunk(
    label: str,
    contestant: Contestant,
    trials: Sequence[Trial],
    observe: Callable[[Reading], T],
    model: NGramModel | None,
    known: Mapping[int, int],
) -> list[T]:
    """The task of one job, which may run in another process. The model is an argument of its own,
    which a cluster can be told to send but once."""
    _warm_up(contestant, trials[0], model, known)
    return [observe(_read_one(label, contestant, trial, model, known)) for trial in trials]


def _read_one(
    label: str,
    contestant: Contestant,
    trial: Trial,
    model: NGramModel | None,
    known: Mapping[int, int],
) -> Reading:
    decipherer = _ready(contestant, trial, model, known)
    start = time.perf_counter()
    (posterior,) = decipherer.posteriors(trial.ciphertext, (len(trial.ciphertext),))
    return Reading(label, trial, posterior, time.perf_counter() - start, model)


def _warm_up(
    contestant: Contestant, trial: Trial, model: NGramModel | None, known: Mapping[int, int]
) -> None:
    """Read one symbol, so that compilation and first look-ups are done before a clock runs."""
    _ready(contestant, trial, model, known).posteriors(trial.ciphertext[:1], (1,))


def _ready(
    contestant: Contestant, trial: Trial, model: NGramModel | None, known: Mapping[int, int]
) -> Decipherer:
    """The decipherer to read one ciphertext with."""
    # A copy: a seed remembers how many generators were spawned from it, and what one decipherer
    # does must not reach the next.
    seed = np.random.SeedSequence(trial.seed.entropy, spawn_key=trial.seed.spawn_key)
    rng = np.random.default_rng(seed)
    if isinstance(contestant, str):
        if model is None:
            raise InputError(f"the decipherer {contestant!r} needs a language model: give one")
        return make_decipherer(contestant, model, rng=rng, known=known)
    # A class has the attribute too, but is a factory; a neural network is callable, but is none.
    if hasattr(contestant, "posteriors") and not isinstance(contestant, type):
        return cast(Decipherer, contestant)
    return cast(Factory, contestant)(rng=rng)


def _trials(
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    length: int,
    count: int,
    seed: int,
    fixed: str,
) -> Iterator[Trial]:
    """`count` trials of one length; each depends on the seed, the length and its number only."""
    for number in range(count):
        text, search = np.random.SeedSequence(seed, spawn_key=(length, number)).spawn(2)
        batch = cryptograms(corpus, alphabet, length, 1, np.random.default_rng(text), fixed)
        yield Trial(number, batch.ciphertext[0], batch.plaintext[0], search)


def _contestants(
    decipherers: Iterable[str] | Mapping[str, Contestant],
) -> dict[str, Contestant]:
    """label -> what to measure under it."""
    if isinstance(decipherers, str):
        raise InputError(f"decipherers are a list of names: write [{decipherers!r}]")
    if isinstance(decipherers, Mapping):
        contestants = dict(decipherers)
    else:
        contestants = {name: name for name in decipherers}
    if not contestants:
        raise InputError("there is no decipherer to measure: name at least one")
    return contestants


def _check_numbers(lengths: Sequence[int], ciphers: int, seed: int, jobs: int | None) -> None:
    if not lengths:
        raise InputError("there is no ciphertext length to measure at: give at least one")
    if min(lengths) < 1:
        raise InputError(f"a ciphertext cannot have {min(lengths)} symbols: take 1 or more")
    if ciphers < 1:
        raise InputError(f"cannot measure on {ciphers} ciphertexts: take 1 or more")
    if seed < 0:
        raise InputError(f"a seed is 0 or more, not {seed}")
    if jobs == 0:
        raise InputError("0 jobs do no work: take 1 or more, or -1 for one a core")
