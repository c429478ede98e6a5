"""An encoder trained together with a linear map on its vectors: adapters (LoRA), or all of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.adapter import Adapter, FullWeights, LoraSettings, adapted_modules
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.encoder import LocalEncoder, load_encoder
from routoo_core.progress import Update
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.lora import FineTuning

MAX_GRADIENT_NORM = 1.0
_EVALUATION_BATCH = 16


@dataclass(frozen=True)
class EncoderTuning:
    """A tuned encoder.

    Attributes:
        adapter: What was learnt.
        vectors: Of all prompts by the tuned encoder, (N, dim).
    """

    adapter: Adapter
    vectors: Vectors = field(repr=False)


def tune_encoder(
    module: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: EncodedOutcomes,
    plan: FineTuning,
    progress: Update,
) -> EncoderTuning:
    """Train encoder and map on the ``train`` rows; both end as they were after the best epoch on ``dev``.

    Args:
        module: Vectors → logits; trained in place.
        loss: Logits and scores → what is minimised.
        data: N prompts.
        plan: What is trained and how.
        progress: Called with a line now and then.

    Raises:
        ConfigurationError: The encoder is no local model.
    """
    encoder = load_encoder(plan.encoder)
    if not isinstance(encoder, LocalEncoder):
        raise ConfigurationError(
            f"lora: encoder {plan.encoder.model!r} is not a local model and cannot be trained; leave lora out"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        parameters = _trainable(encoder, plan.lora)
        run = _Run(encoder, module.to(encoder.model.device), loss, data, plan, parameters)
        run.train(progress)

    adapter = _adapter_of(plan.lora, parameters)
    encoder.model.eval()
    module.cpu()
    return EncoderTuning(adapter, encoder.encode(data.outcomes.prompts))


def _trainable(encoder: LocalEncoder, lora: LoraSettings) -> dict[str, nn.Parameter]:
    """What is trained of the encoder, by name; adapters are put into it first."""
    encoder.model.float()
    if lora.all_weights:
        return dict(encoder.model.named_parameters())
    settings = peft_config(lora, adapted_modules(encoder.model, lora))
    lora_model = get_peft_model(encoder.model, settings)
    parameters = {}
    for name, parameter in lora_model.named_parameters():
        if parameter.requires_grad:
            parameters[name] = parameter
    return parameters


def peft_config(lora: LoraSettings, target_modules: list[str]) -> LoraConfig:
    """What peft needs to know of adapters in these modules."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=target_modules,
    )


def _adapter_of(lora: LoraSettings, parameters: dict[str, nn.Parameter]) -> Adapter:
    if lora.all_weights:
        weights = {}
        for name, parameter in parameters.items():
            weights[name] = parameter.detach().float().cpu().clone()
        return FullWeights.of(weights)
    return Adapter.from_peft(lora.rank, lora.alpha, _lora_state(parameters))


def _lora_state(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    state = {}
    for name, parameter in parameters.items():
        state[name.replace(".default.", ".")] = parameter.detach().float().cpu().clone()
    return state


class _Run:
    """One training run."""

    def __init__(
        self,
        encoder: LocalEncoder,
        module: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        data: EncodedOutcomes,
        plan: FineTuning,
        parameters: dict[str, nn.Parameter],
    ) -> None:
        self.encoder = encoder
        self.module = module
        self.loss = loss
        self.lora = plan.lora
        self.random = np.random.default_rng(plan.seed)
        self.token_ids = encoder.tokens(data.outcomes.prompts)
        self.scores = torch.from_numpy(data.outcomes.scores)
        self.train_rows = data.outcomes.rows("train")
        self.dev_rows = data.outcomes.rows("dev")
        self.trained = [*parameters.values(), *module.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(parameters.values()), "lr": plan.lora.learning_rate},
                {"params": list(module.parameters()), "lr": plan.lora.head_learning_rate},
            ],
            weight_decay=plan.lora.weight_decay,
        )

    def train(self, progress: Update) -> None:
        """All epochs; the parameters end as they were after the best on dev."""
        best_loss = math.inf
        best: list[Tensor] = []
        for epoch in range(1, self.lora.epochs + 1):
            self._run_epoch(epoch, progress)
            dev_loss = self._dev_loss()
            progress(f"encoder: epoch {epoch} · dev loss {dev_loss:.4f}")
            if dev_loss < best_loss:
                best_loss = dev_loss
                best = [parameter.detach().clone() for parameter in self.trained]
        with torch.no_grad():
            for parameter, value in zip(self.trained, best, strict=True):
                parameter.copy_(value)

    def _run_epoch(self, epoch: int, progress: Update) -> None:
        self.encoder.model.train()
        order = self.random.permutation(self.train_rows)
        size = self.lora.batch_size
        for start in range(0, len(order), size):
            self.optimiser.zero_grad()
            loss = self._loss(order[start : start + size])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.trained, MAX_GRADIENT_NORM)
            self.optimiser.step()
            progress(f"encoder: epoch {epoch} · {start + size}/{len(order)} prompts")

    def _loss(self, rows: Any) -> Tensor:
        input_ids, mask = self.encoder.pad([self.token_ids[row] for row in rows])
        vectors = self.encoder.pool(mask, input_ids=input_ids)
        scores = self.scores[torch.from_numpy(np.asarray(rows))].to(vectors.device)
        return self.loss(self.module(vectors), scores)

    @torch.inference_mode()
    def _dev_loss(self) -> float:
        """Of the ``train`` rows where there is no dev prompt."""
        self.encoder.model.eval()
        rows = self.dev_rows if len(self.dev_rows) else self.train_rows
        total = 0.0
        for start in range(0, len(rows), _EVALUATION_BATCH):
            batch = rows[start : start + _EVALUATION_BATCH]
            total += float(self._loss(batch)) * len(batch)
        return total / len(rows)
