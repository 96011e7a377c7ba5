"""Probes: small classifiers that read the letter from a hidden state.

They follow scikit-learn. They take arrays, or tensors on any device, and compute where they were
fitted. Each is fitted to hidden states of ciphertexts under many keys, with the true plain symbol
as label, and asked of states under other keys (Huang et al. 2023, arXiv 2305.16349, section 4.2).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ciphers.errors import InputError
from decipher.posterior import check_least

Array = NDArray[np.float64]
Metric = Literal["cosine", "euclidean"]

#: Queries whose neighbours are looked for at a time.
QUERIES = 2048
#: Steps of L-BFGS, at most, for a fit that is only to tell one ridge from another: the loss of what
#: is held out has settled long before the weights have.
TRIAL = 30


class Probe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What all probes share; each fits `_fit` and answers by `_log_proba`.

    Attributes:
        classes_: [K] the labels that occurred, ascending.
        n_features_in_: width.
    """

    classes_: NDArray[Any]

    def fit(self, X: Any, y: Any, groups: Any = None) -> Probe:
        """Fit the probe.

        Args:
            X: [M, width] hidden states, array or tensor.
            y: [M] labels.
            groups: [M] which states belong together, such as those of one ciphertext: what is
                held out to choose a setting by is whole groups. By default each is its own.

        Raises:
            ValueError: there are fewer than two states, or shapes do not fit together.
        """
        device = X.device if isinstance(X, Tensor) else torch.device("cpu")
        X, y = validate_data(
            self, _array(X), _array(y), dtype=[np.float32, np.float64], ensure_min_samples=2
        )
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if groups is None:
            groups = np.arange(len(X))
        check_consistent_length(X, groups)
        _, group = np.unique(_array(groups), return_inverse=True)
        self._fit(
            torch.tensor(X, device=device),
            torch.tensor(labels, device=device),
            torch.tensor(group, device=device),
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class, [M, K], for hidden states X [M, width]."""
        check_is_fitted(self)
        device = X.device if isinstance(X, Tensor) else torch.device("cpu")
        X = validate_data(self, _array(X), dtype=[np.float32, np.float64], reset=False)
        log_proba = self._log_proba(torch.tensor(X, device=device))
        return np.asarray(log_proba.softmax(dim=1).cpu().numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class, [M], for hidden states X [M, width]."""
        proba = self.predict_proba(X)
        return np.asarray(self.classes_[proba.argmax(axis=1)])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the states X [M, width] whose predicted class is that of y [M]."""
        return float(super().score(X, _array(y), sample_weight))

    def _fit(self, X: Tensor, labels: Tensor, group: Tensor) -> None:
        """Fit to X [M, width], labels [M] from 0 to K - 1, and the groups' numbers [M]."""
        raise NotImplementedError

    def _log_proba(self, X: Tensor) -> Tensor:
        """log p(class), up to a constant in each row, [M, K]."""
        raise NotImplementedError


class LinearProbe(Probe):
    """Multinomial logistic regression; the ridge is chosen by cross-validation.

    It minimises, over standardised features, mean(-log p(label)) + ridge / 2 * |weights|^2; the
    intercepts go free. scikit-learn's `LogisticRegression` with C = 1 / (M * ridge) has the same
    optimum. L-BFGS gets there in a few steps because it walks in the eigenbasis of the features'
    covariance, scaled by the curvature that is to be expected there.

    Args:
        ridges: to choose from; a single one is taken as it is.
        folds: of the cross-validation; each holds out whole groups.
        max_iter: steps of L-BFGS for the fit; those of the cross-validation take `TRIAL` at most.
        tol: a fit ends when no entry of the gradient is larger.

    Attributes:
        coef_: [K, width]; intercept_: [K], for features as they come.
        ridge_: the one chosen.
        losses_: mean -log p(label) of what was held out, nats, for each ridge, the weakest first;
            None where there was no choice.
        n_iter_: steps of the last fit.
    """

    def __init__(
        self,
        ridges: float | Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2),
        folds: int = 3,
        max_iter: int = 200,
        tol: float = 1e-5,
    ) -> None:
        self.ridges = ridges
        self.folds = folds
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, X: Tensor, labels: Tensor, group: Tensor) -> None:
        # The strongest first: its weights are a start for the next.
        ridges = sorted(np.atleast_1d(self.ridges).tolist(), reverse=True)
        if not ridges or ridges[-1] <= 0:
            raise InputError(f"ridges are positive numbers, not {self.ridges}: give at least one")
        mean, scale = _moments(X)
        X = (X - mean) / scale
        self.losses_: list[float] | None = None
        chosen = 0
        if len(ridges) > 1:
            losses = self._cross_validate(X, labels, group, ridges)
            chosen = int(losses.argmin())
            self.losses_ = losses[::-1].tolist()
        self.ridge_ = ridges[chosen]
        descent = _Descent(X, labels, len(self.classes_), self.max_iter, self.tol)
        # Down the same path, so that the result does not hang on what else was tried.
        coef, intercept = descent.minimum(self.ridge_)
        self.n_iter_ = max(descent.steps, 1)
        coef = coef / scale
        self.coef_ = coef.cpu().numpy()
        self.intercept_ = (intercept - coef @ mean).cpu().numpy()

    def _cross_validate(
        self, X: Tensor, labels: Tensor, group: Tensor, ridges: Sequence[float]
    ) -> Array:
        """The held-out loss of each ridge, nats."""
        count = int(group.max()) + 1
        folds = min(self.folds, count)
        if folds < 2:
            raise InputError(
                f"{count} group and {self.folds} folds leave nothing to choose the ridge by: give "
                "2 or more of both, or a single ridge"
            )
        losses, K = np.zeros(len(ridges)), len(self.classes_)
        for fold in range(folds):
            out = group % folds == fold
            steps = min(TRIAL, self.max_iter)
            descent = _Descent(X[~out], labels[~out], K, steps, self.tol)
            # Of a class that is nowhere else nothing can be learned, whatever the ridge.
            met = torch.bincount(labels[~out], minlength=K)[labels[out]] > 0
            held_out, truth = X[out][met], labels[out][met]
            start = None
            for i, ridge in enumerate(ridges):
                start = descent.minimum(ridge, start)
                logits = held_out @ start[0].T + start[1]
                losses[i] += float(F.cross_entropy(logits, truth, reduction="sum"))
        return losses / len(X)

    def _log_proba(self, X: Tensor) -> Tensor:
        coef, intercept = (torch.tensor(weights).to(X) for weights in (self.coef_, self.intercept_))
        return X @ coef.T + intercept


class _Descent:
    """Multinomial logistic regressions on the same X [M, width] and labels [M] of K classes."""

    def __init__(self, X: Tensor, labels: Tensor, K: int, max_iter: int, tol: float) -> None:
        self.labels, self.K = labels, K
        self.options = {"maxiter": max_iter, "gtol": tol, "ftol": torch.finfo(X.dtype).eps}
        #: Steps of the last descent.
        self.steps = 0
        self.mean = X.mean(dim=0)
        X = X - self.mean
        variances, self.basis = torch.linalg.eigh(X.T @ X / len(X))
        self.variances = variances.clamp(min=0)
        self.rotated = X @ self.basis

    def minimum(
        self, ridge: float, start: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The best weights [K, width] and intercepts [K]; `start` is where to begin."""
        X, K, width = self.rotated, self.K, self.rotated.shape[1]
        # In these units the objective curves about as much in every direction.
        unit = (self.variances / K + ridge).rsqrt()

        def objective(flat: Array) -> tuple[float, Array]:
            V = torch.tensor(flat.reshape(K, width + 1), device=X.device, dtype=X.dtype)
            W, b = V[:, :-1] * unit, V[:, -1]
            log_p = torch.addmm(b, X, W.T).log_softmax(dim=1)
            wrong = log_p.exp()
            loss = -log_p.gather(1, self.labels[:, None]).mean(dtype=torch.float64)
            wrong[torch.arange(len(X), device=X.device), self.labels] -= 1
            slope = wrong.T @ X / len(X) + ridge * W
            gradient = torch.cat([slope * unit, wrong.mean(dim=0)[:, None]], dim=1)
            value = float(loss) + ridge / 2 * float((W * W).sum())
            return value, gradient.double().cpu().numpy().ravel()

        first: Any = np.zeros(K * (width + 1))
        if start is not None:
            weights, intercept = start
            V = torch.cat(
                [weights @ self.basis / unit, (intercept + weights @ self.mean)[:, None]], dim=1
            )
            first = V.double().cpu().numpy().ravel()
        # SciPy's own part is sums over short vectors, in which threads of BLAS only wait for one
        # another: on busy cores a thousand times longer than the sums take.
        with threadpool_limits(1, user_api="blas"):
            found = minimize(  # type: ignore[call-overload]
                objective, first, jac=True, method="L-BFGS-B", options=self.options
            )
        self.steps = int(found.nit)
        V = torch.tensor(found.x.reshape(K, width + 1), device=X.device, dtype=X.dtype)
        weights = (V[:, :-1] * unit) @ self.basis.T
        return weights, V[:, -1] - weights @ self.mean


class MLPProbe(Probe):
    """A perceptron of two layers, as in the paper (Huang et al. 2023, section 4.2).

    Features are standardised. AdamW (Loshchilov and Hutter 2019) runs until what is held out, a
    fifth of the groups, has not improved for `patience` epochs; the best weights stay.

    Args:
        hidden: units between the two layers.
        learning_rate, weight_decay, batch: of AdamW; batch is in states.
        epochs: at most so many.
        patience: see above.
        random_state: of the first weights and the order of the states.

    Attributes:
        network_: the layers, for features as they come.
        loss_: mean -log p(label) of what was held out, nats.
        epochs_: how many were run.
    """

    def __init__(
        self,
        hidden: int = 256,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        batch: int = 1024,
        epochs: int = 100,
        patience: int = 3,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch = batch
        self.epochs = epochs
        self.patience = patience
        self.random_state = random_state

    def _fit(self, X: Tensor, labels: Tensor, group: Tensor) -> None:
        check_least(self, hidden=1, batch=1, epochs=1, patience=1)
        generator = torch.Generator().manual_seed(_seed(self.random_state))
        self.mean_, self.scale_ = _moments(X)
        X = (X - self.mean_) / self.scale_
        # Every fifth group; of two, one.
        out = group % min(5, int(group.max()) + 1) == 0
        if bool(out.all()):
            raise InputError("1 group leaves nothing to hold out: give at least 2")
        network = self._network(X.shape[1], len(self.classes_), generator).to(X)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        inside, truth = X[~out], labels[~out]
        self.loss_, self.epochs_, best = math.inf, 0, 0
        while self.epochs_ < self.epochs and self.epochs_ - best < self.patience:
            order = torch.randperm(len(inside), generator=generator).to(X.device)
            for rows in torch.split(order, self.batch):
                optimiser.zero_grad()
                error = F.cross_entropy(network(inside[rows]), truth[rows])
                error.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            self.epochs_ += 1
            with torch.no_grad():
                loss = float(F.cross_entropy(network(X[out]), labels[out]))
            if loss < self.loss_:
                self.loss_, best = loss, self.epochs_
                self.network_ = copy.deepcopy(network)

    def _network(self, width: int, classes: int, generator: torch.Generator) -> nn.Sequential:
        network = nn.Sequential(
            nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, classes)
        )
        for layer, gain in ((network[0], 2.0), (network[2], 1.0)):
            assert isinstance(layer, nn.Linear)
            deviation = math.sqrt(gain / layer.in_features)
            nn.init.normal_(layer.weight, std=deviation, generator=generator)
            nn.init.zeros_(layer.bias)
        return network

    @torch.no_grad()
    def _log_proba(self, X: Tensor) -> Tensor:
        log_proba: Tensor = self.network_((X.to(self.mean_) - self.mean_) / self.scale_)
        return log_proba


class NearestNeighbourProbe(Probe):
    """The labels of the nearest states, or of the nearest class centroid.

    The probabilities of k neighbours are their votes and one vote more that goes by the classes'
    frequencies. Those of centroids are of a Gaussian of one variance around each (Euclidean), or
    of a von Mises-Fisher distribution of one concentration (cosine; Banerjee et al. 2005,
    equation 4.4), the classes being equally likely: the most probable is the nearest.

    Args:
        neighbours: k; None compares with the centroid of each class.
        metric: "cosine" or "euclidean".
        references: of more states than these a random choice is kept to look among; None keeps
            all. The time to find neighbours grows with it. Centroids take in every state.
        random_state: of that choice.

    Attributes:
        references_: [R, width] the states, or centroids, to compare with.
        labels_: [R] the number of the class of each.
    """

    def __init__(
        self,
        neighbours: int | None = 32,
        metric: Metric = "cosine",
        references: int | None = 20_000,
        random_state: Any = None,
    ) -> None:
        self.neighbours = neighbours
        self.metric = metric
        self.references = references
        self.random_state = random_state

    def _fit(self, X: Tensor, labels: Tensor, group: Tensor) -> None:
        check_least(self, neighbours=1, references=1)
        if self.metric not in get_args(Metric):
            raise InputError(
                f"there is no metric {self.metric!r}: choose {' or '.join(get_args(Metric))}"
            )
        K = len(self.classes_)
        self.frequencies_ = torch.bincount(labels, minlength=K).to(X) / len(labels)
        #: Differences of far away points are best taken from near by.
        self.centre_ = X.mean(dim=0) if self.metric == "euclidean" else torch.zeros_like(X[0])
        X = self._place(X)
        if self.neighbours is None:
            self._fit_centroids(X, labels, K)
        else:
            if self.references is not None and len(X) > self.references:
                generator = torch.Generator().manual_seed(_seed(self.random_state))
                kept = torch.randperm(len(X), generator=generator)[: self.references]
                X, labels = X[kept.to(X.device)], labels[kept.to(X.device)]
            self.references_, self.labels_ = X, labels

    def _fit_centroids(self, X: Tensor, labels: Tensor, K: int) -> None:
        sums = torch.zeros(K, X.shape[1], dtype=X.dtype, device=X.device)
        sums.index_add_(0, labels, X)
        means = sums / torch.bincount(labels, minlength=K)[:, None]
        self.labels_ = torch.arange(K, device=X.device)
        tiny = torch.finfo(X.dtype).eps
        if self.metric == "euclidean":
            self.references_ = means
            self.concentration_ = 1 / float((X - means[labels]).square().mean().clamp(min=tiny))
        else:
            self.references_ = F.normalize(means)
            length = min(float(sums.norm(dim=1).sum()) / len(X), 1 - tiny)
            self.concentration_ = length * (X.shape[1] - length**2) / (1 - length**2)

    def _place(self, X: Tensor) -> Tensor:
        """X where nearness can be compared: on the sphere, or around the centre."""
        return F.normalize(X) if self.metric == "cosine" else X - self.centre_

    def _nearness(self, X: Tensor) -> Tensor:
        """Cosines [M, R], or minus half the squared Euclidean distances, to the references."""
        products = X @ self.references_.T
        if self.metric == "cosine":
            return products
        squares = self.references_.square().sum(dim=1) + X.square().sum(dim=1, keepdim=True)
        return products - squares / 2

    def _log_proba(self, X: Tensor) -> Tensor:
        X = self._place(X.to(self.references_))
        if self.neighbours is None:
            return self._nearness(X) * self.concentration_
        k = min(self.neighbours, len(self.references_))
        votes = self.frequencies_.repeat(len(X), 1)
        for start in range(0, len(X), QUERIES):
            rows = slice(start, start + QUERIES)
            nearest = self._nearness(X[rows]).topk(k, dim=1, sorted=False).indices
            ballot = torch.ones_like(nearest, dtype=X.dtype)
            votes[rows].scatter_add_(1, self.labels_[nearest], ballot)
        return votes.log()


def make_probe(name: str, random_state: Any = None) -> Probe:
    """A probe by name: linear, mlp, neighbour or centroid.

    Raises:
        InputError: there is no such probe.
    """
    if name == "linear":
        return LinearProbe()
    if name == "mlp":
        return MLPProbe(random_state=random_state)
    if name == "neighbour":
        return NearestNeighbourProbe(random_state=random_state)
    if name == "centroid":
        return NearestNeighbourProbe(neighbours=None)
    raise InputError(f"there is no probe {name!r}: choose linear, mlp, neighbour or centroid")


def _array(values: Any) -> Any:
    """Tensors as arrays; the rest as it is, for scikit-learn to check."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _moments(X: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, [width]; 1 for one that is constant."""
    mean = X.mean(dim=0)
    scale = (X - mean).square().mean(dim=0).sqrt()
    constant = scale <= 10 * torch.finfo(X.dtype).eps * (mean.abs() + 1)
    return mean, torch.where(constant, torch.ones_like(scale), scale)


def _seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))
