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
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.heads import Head
from routoo_core.training.labels import targets

PER_EXPERT = ("expert", "expert.weight", "bias", "table")
"""A head's parameters that hold one row for each expert; all others are shared."""
STEPS = 100


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
        prior: The older expert, 0 … M - 1, the new one is thought to resemble; without it, the mean of all.
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
        who = (
            f"the mean of the {_expert_count(heads)} older ones"
            if prior is None
            else f"a copy of expert {prior}"
        )
        warnings.warn(
            f"no labels: the new expert is {who}; label prompts ('routoo suggest-prompts' names some) and add it again",
            stacklevel=2,
        )
    given = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    return [
        _grow(head, _learn(head, given, scores.astype(np.float32), prior, strength))
        for head in heads
    ]


@dataclass(frozen=True)
class _Prior:
    """Gaussian over one expert's p parameters: ``centre + z @ spread + u * own``, z (M,) and u (p,) standard normal.

    Attributes:
        centre: The mean of the older experts, or one of them, (p,).
        spread: Their deviations from the mean over √(M - 1), so that the covariance is theirs, (M, p).
        own: Standard deviations outside their span, (p,): the fewer they are, the less they say about the next.
        shapes: Of one expert's parameters, by name.
    """

    centre: Tensor
    spread: Tensor
    own: Tensor
    shapes: dict[str, torch.Size]

    @classmethod
    def of(cls, head: Head, resembling: int | None) -> _Prior:
        rows = _rows(head)
        flat = torch.cat([value.flatten(1) for value in rows.values()], dim=1)
        mean, count = flat.mean(0), len(flat)
        own = (
            torch.cat([_unit(name, value).expand(value[0].numel()) for name, value in rows.items()])
            / count
        )
        spread = (flat - mean) / max(count - 1, 1) ** 0.5
        centre = mean if resembling is None else flat[resembling]
        return cls(centre, spread, own, {name: value[:1].shape for name, value in rows.items()})

    def row(self, latent: Tensor) -> dict[str, Tensor]:
        """One expert's parameters by name, for latent = [z, u], (M + p,)."""
        z, u = torch.split(latent, [len(self.spread), len(self.own)])
        flat = self.centre + z @ self.spread + u * self.own
        parts = torch.split(flat, [shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def _unit(name: str, rows: Tensor) -> Tensor:
    # 1 in an embedding or a bias moves a logit by about 1; a classifier's row meets features of any size.
    return rows.square().mean().sqrt() if name == "expert" else torch.ones(())


def _learn(
    head: Head,
    vectors: Tensor,
    scores: NDArray[np.float32],
    resembling: int | None,
    strength: float,
) -> dict[str, Tensor]:
    """The new expert's parameters by name: the maximum a posteriori, by L-BFGS from the prior's centre."""
    prior = _Prior.of(head, resembling)
    latent = torch.zeros(len(prior.spread) + len(prior.own), requires_grad=True)
    alone = _with_rows(head, prior.row(latent.detach())).eval().requires_grad_(False)
    level = targets(scores, head.levels)[0]
    optimiser = torch.optim.LBFGS([latent], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = functional_call(alone, prior.row(latent), (vectors,))[:, 0]
        total: Tensor = (
            functional.cross_entropy(logits, level, reduction="sum")
            + strength / 2 * latent.square().sum()
        )
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return prior.row(latent.detach())


def _rows(head: Head) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in head.named_parameters() if name in PER_EXPERT}


def _grow(head: Head, row: dict[str, Tensor]) -> Head:
    return _with_rows(
        head, {name: torch.cat([rows, row[name]]) for name, rows in _rows(head).items()}
    )


def _with_rows(head: Head, rows: dict[str, Tensor]) -> Head:
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
    return len(next(iter(_rows(heads[0]).values())))


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
    if len(wrong := np.flatnonzero(~((scores >= 0) & (scores <= 1)))):
        row = int(wrong[0])
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
