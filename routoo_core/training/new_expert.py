"""One more expert for trained heads, from few labels."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.heads import Head
from routoo_core.training.labels import nearest_levels

PER_EXPERT = ("expert", "expert.weight", "bias", "table")
"""A head's parameters that hold one row for each expert; all others are shared."""

STEPS = 100
"""Iterations of L-BFGS."""

Rows = dict[str, Tensor]
"""Parameters of some experts by name, the experts first."""


def add_expert(
    heads: list[Head],
    vectors: Vectors,
    scores: NDArray[np.float32],
    *,
    prior: int | None = None,
    strength: float = 1.0,
) -> list[Head]:
    """Copy every head with one more expert, the last; each parameter of the older ones is the same to the bit.

    The older experts are a sample of what experts are like: the mean and covariance of their rows are the Gaussian
    prior of the new row, which is learned as the maximum a posteriori under cross-entropy (Eq. 1). Nothing else is
    trained and nothing is drawn: the same input gives the same heads.

    Args:
        heads: Ensemble members over the same M experts, of any kind in ``HEADS``; they stay as they are.
        vectors: The router's encoder on the labelled prompts, shape (n, dim); n may be 0.
        scores: Observed quality of the new expert, shape (n,), each 0–1.
        prior: The older expert, 0 … M - 1, that the new one is expected to resemble; without it, the mean of all.
        strength: Weight of the prior against the labels, above 0; 1 is Bayes' rule.

    Warns:
        UserWarning: There are no labels: the new expert is its prior.

    Raises:
        ConfigurationError: ``heads`` is empty, ``vectors`` do not fit them, ``prior`` or ``strength`` is out of range.
        OutcomesError: ``scores`` are not one number from 0 to 1 for each vector.
    """
    _check_vectors(vectors, heads)
    _check_scores(scores, len(vectors))
    _check_prior(prior, strength, _expert_count(heads))
    if not len(scores):
        _warn_of_no_labels(prior, _expert_count(heads))

    inputs = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    scores = scores.astype(np.float32)
    new_heads = []
    for head in heads:
        row_prior = _RowPrior.of_experts(head, prior, strength)
        new_heads.append(_with_one_more(head, _fit_row(head, row_prior, inputs, scores)))
    return new_heads


@dataclass(frozen=True)
class _RowPrior:
    """Gaussian over one expert's p parameters: ``centre + z @ spread + u * deviation``; z (M,), u (p,) standard normal.

    Attributes:
        centre: The mean of the older experts, or one of them, (p,).
        spread: Their deviations from the mean over √(M - 1), so that the covariance is theirs, (M, p).
        deviation: Standard deviations outside their span, (p,); the more older experts there are, the smaller.
        shapes: Of one expert's parameters, by name.
        strength: Weight against the labels.
    """

    centre: Tensor
    spread: Tensor
    deviation: Tensor
    shapes: dict[str, torch.Size]
    strength: float

    @classmethod
    def of_experts(cls, head: Head, resembling: int | None, strength: float) -> _RowPrior:
        """The prior that a head's experts are a sample of."""
        rows = _expert_rows(head)
        flat = torch.cat([value.flatten(1) for value in rows.values()], dim=1)
        mean = flat.mean(0)
        count = len(flat)

        units = []
        for name, value in rows.items():
            units.append(_unit_of(name, value).expand(value[0].numel()))
        return cls(
            centre=mean if resembling is None else flat[resembling],
            spread=(flat - mean) / max(count - 1, 1) ** 0.5,
            deviation=torch.cat(units) / count,
            shapes={name: value[:1].shape for name, value in rows.items()},
            strength=strength,
        )

    @property
    def latent_size(self) -> int:
        """M + p."""
        return len(self.spread) + len(self.deviation)

    def row(self, latent: Tensor) -> Rows:
        """One expert's parameters, for latent = [z, u], (M + p,)."""
        z, u = torch.split(latent, [len(self.spread), len(self.deviation)])
        flat = self.centre + z @ self.spread + u * self.deviation
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = torch.split(flat, sizes)
        row = {}
        for (name, shape), part in zip(self.shapes.items(), parts, strict=True):
            row[name] = part.view(shape)
        return row

    def negative_log_density(self, latent: Tensor) -> Tensor:
        """Up to a constant, times the strength."""
        return self.strength / 2 * latent.square().sum()


def _unit_of(name: str, rows: Tensor) -> Tensor:
    # 1 in an embedding or a bias moves a logit by about 1; a classifier's row meets features of any size.
    if name == "expert":
        return rows.square().mean().sqrt()
    return torch.ones(())


def _fit_row(head: Head, prior: _RowPrior, vectors: Tensor, scores: NDArray[np.float32]) -> Rows:
    """The new expert's parameters: the maximum a posteriori, by L-BFGS from the prior's centre."""
    latent = torch.zeros(prior.latent_size, requires_grad=True)
    one_expert = _with_rows(head, prior.row(latent.detach())).eval().requires_grad_(False)
    level = nearest_levels(torch.from_numpy(scores), head.levels)
    optimiser = torch.optim.LBFGS([latent], max_iter=STEPS, line_search_fn="strong_wolfe")

    def negative_log_posterior() -> Tensor:
        optimiser.zero_grad()
        logits = functional_call(one_expert, prior.row(latent), (vectors,))[:, 0]
        negative_log_likelihood = functional.cross_entropy(logits, level, reduction="sum")
        loss = negative_log_likelihood + prior.negative_log_density(latent)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(negative_log_posterior)  # type: ignore[no-untyped-call]
    return prior.row(latent.detach())


def _expert_rows(head: Head) -> Rows:
    rows = {}
    for name, value in head.named_parameters():
        if name in PER_EXPERT:
            rows[name] = value.detach()
    return rows


def _with_one_more(head: Head, row: Rows) -> Head:
    rows = {}
    for name, older in _expert_rows(head).items():
        rows[name] = torch.cat([older, row[name]])
    return _with_rows(head, rows)


def _with_rows(head: Head, rows: Rows) -> Head:
    """A copy of the head whose experts are these rows."""
    copy = deepcopy(head)
    for name, value in rows.items():
        owner, _, attribute = name.rpartition(".")
        module = copy.get_submodule(owner)
        setattr(module, attribute, nn.Parameter(value, head.get_parameter(name).requires_grad))
        if isinstance(module, nn.Embedding):
            module.num_embeddings = len(value)
    return copy


def _expert_count(heads: list[Head]) -> int:
    rows = _expert_rows(heads[0])
    return len(next(iter(rows.values())))


def _warn_of_no_labels(prior: int | None, older: int) -> None:
    expert = f"the mean of the {older} older ones" if prior is None else f"a copy of expert {prior}"
    warnings.warn(
        f"no labels: the new expert is {expert}; label prompts ('routoo suggest-prompts' names some) and add it again",
        stacklevel=3,
    )


def _check_vectors(vectors: Vectors, heads: list[Head]) -> None:
    if not heads:
        raise ConfigurationError(
            "heads: none given; load a router's with load_checkpoint or train some"
        )
    dim = len(heads[0].mean)
    if vectors.ndim != 2 or vectors.shape[1] != dim or not np.isfinite(vectors).all():
        raise ConfigurationError(
            f"vectors: shape {vectors.shape}, the heads need finite numbers of shape (prompts, {dim}); "
            "encode the prompts with the router's own encoder"
        )


def _check_scores(scores: NDArray[np.float32], count: int) -> None:
    if scores.shape != (count,):
        raise OutcomesError(
            f"scores: shape {scores.shape} for {count} vectors; give one score for each labelled prompt"
        )
    in_range = (scores >= 0) & (scores <= 1)
    if not in_range.all():
        row = int(np.flatnonzero(~in_range)[0])
        raise OutcomesError(
            f"scores: row {row + 1}: {scores[row]} is not a number from 0 to 1; "
            "rescale scores to 0–1 and leave out prompts without one"
        )


def _check_prior(prior: int | None, strength: float, experts: int) -> None:
    if prior is not None and not 0 <= prior < experts:
        raise ConfigurationError(
            f"prior: {prior} is not one of the older experts, 0 … {experts - 1}; None is their mean"
        )
    if not 0 < strength < float("inf"):
        raise ConfigurationError(
            f"strength: {strength} must be above 0 and finite; 1 is Bayes' rule"
        )
