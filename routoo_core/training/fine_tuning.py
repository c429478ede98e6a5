"""Encoder and heads trained together: LoRA on the upper layers, what lies below run once (paper §3.2, §4.1)."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from routoo_core.errors import ConfigurationError
from routoo_core.files import replacing
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import Adapter, LoraSettings, adapted_modules
from routoo_core.predictor.encoder import Encoder, Vectors
from routoo_core.predictor.heads import Head
from routoo_core.training.head_ensemble import masked_cross_entropy, training_loss
from routoo_core.training.labels import Labels, labels, prompt_domains
from routoo_core.training.settings import Progress, TrainingConfig

SAVE_EVERY = 50  # steps; a killed run loses at most so many
_EVALUATED_AT_ONCE = 16
_MAX_NORM = 1.0


def fine_tune(
    encoder: Encoder,
    heads: list[Head],
    outcomes: Outcomes,
    vectors: Vectors,
    config: TrainingConfig,
    saved: Path,
    progress: Progress = lambda _: None,
) -> Adapter:
    """Train an adapter and the heads on the ``train`` rows; both are left as they were after the best epoch on dev.

    Under ``accelerate launch`` every process takes its share of the batches. Every step's randomness depends on the
    seed and the step alone, so a run that was killed and started again ends as if it had not been.

    Args:
        encoder: Used up: its model is changed. Load another with the adapter.
        heads: Trained on ``vectors``; changed in place.
        outcomes: N prompts × M experts; missing pairs carry no loss.
        vectors: The encoder's before any training, (N, dim).
        config: ``config.lora`` says what is trained.
        saved: File that a killed run goes on from; removed at the end.
        progress: Called with a line now and then.

    Raises:
        ConfigurationError: The layers cannot be run apart from those below them, or have no such matrices.
    """
    lora = config.lora or LoraSettings()
    accelerator = Accelerator()
    where = adapted_modules(encoder.model, lora)
    inputs = _below(encoder, outcomes.prompts, vectors, lora.first_layer, progress)
    torch.manual_seed(config.seed)
    adapted = get_peft_model(
        encoder.model,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=where,
        ),
    )
    if lora.checkpointing:
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
    tuned = _Tuned(encoder, heads, inputs, config.domain_weight)
    run = _Run(
        tuned,
        outcomes,
        prompt_domains(outcomes, vectors, config)[0],
        config,
        lora,
        saved,
        accelerator,
    )
    with _upper_layers(encoder, lora.first_layer):
        run.train(progress)
    weights = {
        name: value.detach().float().cpu()
        for name, value in get_peft_model_state_dict(adapted).items()
    }
    for head in heads:
        head.cpu().eval().requires_grad_(False)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        saved.unlink(missing_ok=True)
    return Adapter.from_peft(lora.rank, lora.alpha, weights)


@dataclass(frozen=True)
class _Inputs:
    """What the trained layers start from.

    Attributes:
        rows: For each prompt its token ids, (tokens,), or hidden states below the trained layers, (tokens, hidden).
        fixed: Vectors of the layers below the trained ones, (prompts, any).
        below: Number of layers that are not run again.
    """

    rows: list[Tensor] = field(repr=False)
    fixed: Tensor = field(repr=False)
    below: int

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, Tensor]:
        """Arguments of :class:`_Tuned` for these prompts."""
        lengths = torch.tensor([len(self.rows[row]) for row in rows])
        given = nn.utils.rnn.pad_sequence([self.rows[row] for row in rows], batch_first=True)
        mask = torch.arange(given.shape[1]) < lengths[:, None]
        whole = {"given": given, "mask": mask, "fixed": self.fixed[list(rows)]}
        return {name: value.to(device) for name, value in whole.items()}


class _Tuned(nn.Module):
    """Inputs → the loss of all members together, or the vectors the heads read."""

    def __init__(
        self, encoder: Encoder, heads: list[Head], inputs: _Inputs, domain_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.model, self.heads = encoder.model, nn.ModuleList(heads).to(encoder.model.device)
        self._pooled, self.below = encoder.pooled, inputs.below
        self.inputs, self.domain_weight = inputs, domain_weight
        self.layers = [
            layer - inputs.below for layer in encoder.settings.layers if layer > inputs.below
        ]
        self.requires_grad_(False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("lora_" in name or name.startswith("heads."))

    def forward(self, batch: dict[str, Tensor], given: Labels) -> Tensor:
        vectors = self.vectors(**batch)
        losses = [training_loss(head, vectors, given, self.domain_weight) for head in self.heads]  # type: ignore[arg-type]
        return torch.stack(losses).sum()

    def vectors(self, given: Tensor, mask: Tensor, fixed: Tensor) -> Tensor:
        key = "inputs_embeds" if self.below else "input_ids"
        return torch.cat([fixed, self._pooled(mask, self.layers, **{key: given})], dim=-1)


class _Run:
    """The optimiser's side: steps, schedule, what is best so far, and what a killed run needs to go on."""

    def __init__(
        self,
        tuned: _Tuned,
        outcomes: Outcomes,
        domain: NDArray[np.int64],
        config: TrainingConfig,
        lora: LoraSettings,
        saved: Path,
        accelerator: Accelerator,
    ) -> None:
        self.tuned, self.lora, self.saved, self.accelerator, self.seed = (
            tuned,
            lora,
            saved,
            accelerator,
            config.seed,
        )
        self.labels = labels(outcomes, domain, config.levels)
        self.train_rows, self.dev_rows = (
            outcomes.rows(split).tolist() for split in ("train", "dev")
        )
        self.trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
        groups = [
            [p for name, p in self.trained.items() if name.startswith("heads.") == own]
            for own in (False, True)
        ]
        rates = (lora.learning_rate, lora.head_learning_rate)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": group, "lr": rate, "highest": rate}
                for group, rate in zip(groups, rates, strict=True)
            ],
            weight_decay=lora.weight_decay,
        )
        self.module = accelerator.prepare(tuned) if accelerator.num_processes > 1 else tuned
        together = lora.batch_size * lora.accumulate * accelerator.num_processes
        self.steps_per_epoch = math.ceil(len(self.train_rows) / together)
        self.steps = self.steps_per_epoch * lora.epochs
        self.best_loss = math.inf
        self.best = {name: p.detach().clone() for name, p in self.trained.items()}

    def train(self, progress: Progress) -> None:
        first, started = self._resume(), time.monotonic()
        for step in range(first, self.steps):
            self._step(step)
            done, epoch = step + 1, step // self.steps_per_epoch + 1
            if done % self.steps_per_epoch == 0:
                progress(f"LoRA: epoch {epoch} of {self.lora.epochs} is measured")
                self._keep_if_best()
            if done % SAVE_EVERY == 0 or done % self.steps_per_epoch == 0:
                self._save(done)
            left = (time.monotonic() - started) / (done - first) * (self.steps - done)
            loss = f" · best dev loss {self.best_loss:.4f}" if self.best_loss < math.inf else ""
            progress(
                f"LoRA: epoch {epoch}/{self.lora.epochs} · step {done}/{self.steps} · {left / 60:.0f} min left{loss}"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(self.best[name])

    def _step(self, step: int) -> None:
        torch.manual_seed(hash((self.seed, step, self.accelerator.process_index)) % 2**31)
        self.tuned.train()
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * rate(step, self.steps)
        self.optimiser.zero_grad()  # first: the heads come with gradients of their own training
        batches = self._batches(step)
        for number, rows in enumerate(batches, start=1):
            with nullcontext() if number == len(batches) else self.accelerator.no_sync(self.module):
                batch = self.tuned.inputs.batch(rows, self.accelerator.device)
                loss = self.module(batch, self.labels.take(rows).to(self.accelerator.device))
                self.accelerator.backward(loss / len(batches))
        nn.utils.clip_grad_norm_(self.trained.values(), _MAX_NORM)
        self.optimiser.step()

    def _batches(self, step: int) -> list[list[int]]:
        """This process's batches of one step: prompts of similar length together, in an order drawn for the epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        draw = np.random.default_rng((self.seed, epoch))
        lengths = np.array([len(self.tuned.inputs.rows[row]) for row in self.train_rows])
        order = np.argsort(lengths * draw.uniform(0.9, 1.1, len(lengths)), kind="stable")
        size = self.lora.batch_size
        chunks = [
            [self.train_rows[i] for i in order[at : at + size]] for at in range(0, len(order), size)
        ]
        each = self.lora.accumulate * self.accelerator.num_processes
        turn = np.resize(
            draw.permutation(len(chunks)), self.steps_per_epoch * each
        )  # repeats some: equal shares
        mine = turn[place * each : (place + 1) * each][
            self.accelerator.process_index :: self.accelerator.num_processes
        ]
        return [chunks[k] for k in mine]

    @torch.inference_mode()
    def _keep_if_best(self) -> None:
        self.tuned.eval()
        rows = sorted(
            self.dev_rows or self.train_rows, key=lambda row: len(self.tuned.inputs.rows[row])
        )
        total = weight = 0.0
        for at in range(0, len(rows), _EVALUATED_AT_ONCE):
            batch = rows[at : at + _EVALUATED_AT_ONCE]
            given = self.labels.take(batch).to(self.accelerator.device)
            vectors = self.tuned.vectors(**self.tuned.inputs.batch(batch, self.accelerator.device))
            losses = [masked_cross_entropy(head(vectors), given) for head in self.tuned.heads]
            seen = float(given.observed.sum())
            total, weight = total + float(torch.stack(losses).mean()) * seen, weight + seen
        if (loss := total / max(weight, 1.0)) < self.best_loss:
            self.best_loss = loss
            self.best = {name: p.detach().clone() for name, p in self.trained.items()}

    def _save(self, done: int) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors = {f"now.{name}": p.detach() for name, p in self.trained.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for name, p in self.trained.items():
            tensors |= {f"{kind}.{name}": value for kind, value in self.optimiser.state[p].items()}
        with replacing(self.saved) as partial:
            save_file(tensors, partial, {"done": str(done), "best_loss": repr(self.best_loss)})

    def _resume(self) -> int:
        """The step to go on with: 0, or the one a killed run had come to."""
        if not self.saved.is_file():
            return 0
        with safe_open(self.saved, "pt") as file:
            metadata = file.metadata()
            self.best_loss = float(metadata["best_loss"])
            for name, parameter in self.trained.items():
                parameter.data.copy_(file.get_tensor(f"now.{name}"))
                self.best[name] = file.get_tensor(f"best.{name}").to(parameter.device)
                state = {
                    kind: file.get_tensor(f"{kind}.{name}")
                    for kind in ("step", "exp_avg", "exp_avg_sq")
                }
                self.optimiser.state[parameter] = {
                    kind: value if kind == "step" else value.to(parameter.device)
                    for kind, value in state.items()
                }
        return int(metadata["done"])


def rate(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step: up over the first tenth, then down along a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def resume_file(folder: Path, config: TrainingConfig, outcomes: Outcomes) -> Path:
    """Where a killed run of just this configuration and data goes on from."""
    key = hashlib.sha256(
        f"{config.model_dump_json()} {outcomes.fingerprint()}".encode()
    ).hexdigest()[:24]
    return folder / f"{key}.safetensors"


@torch.inference_mode()
def _below(
    encoder: Encoder, prompts: Sequence[str], vectors: Vectors, first_layer: int, progress: Progress
) -> _Inputs:
    """Token ids, or the hidden states below the trained layers when there are layers below."""
    below, width = first_layer - 1, encoder.model.config.hidden_size
    tokens = encoder.tokens(prompts)
    not_trained = sum(
        layer <= below for layer in encoder.settings.layers
    )  # the first ones, since layers rise
    constant = torch.from_numpy(vectors[:, : not_trained * width])
    if not below:
        return _Inputs([torch.tensor(ids) for ids in tokens], constant, below)
    states: list[Tensor] = [torch.empty(0)] * len(tokens)
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    with _lower_layers(encoder, below):
        for at in range(0, len(order), _EVALUATED_AT_ONCE):
            rows = order[at : at + _EVALUATED_AT_ONCE]
            ids, mask = encoder.pad([tokens[row] for row in rows])
            hidden = encoder.model(
                input_ids=ids, attention_mask=mask.long(), use_cache=False
            ).last_hidden_state
            for place, row in enumerate(rows):
                states[row] = hidden[place, : len(tokens[row])].cpu().clone()
            progress(
                f"LoRA: layers below {first_layer}, run once · {at + len(rows)}/{len(order)} prompts"
            )
    inputs = _Inputs(states, constant, below)
    _check_exact(encoder, inputs, vectors)
    return inputs


def _check_exact(encoder: Encoder, inputs: _Inputs, vectors: Vectors) -> None:
    """Some models do more than run their layers; for those the two halves do not make the whole."""
    tuned = _Tuned(encoder, [], inputs)
    with _upper_layers(encoder, inputs.below + 1):
        batch = inputs.batch([0], encoder.model.device)
        found = (
            encoder.pooled(batch["mask"], tuned.layers, inputs_embeds=batch["given"])
            .cpu()
            .numpy()[0]
        )
    whole = vectors[0, inputs.fixed.shape[1] :]
    if np.abs(found - whole).mean() > 0.05 * np.abs(whole).mean():
        raise ConfigurationError(
            f"lora.first_layer: the layers of {encoder.settings.model} cannot be run in two halves; set it to 1"
        )


@contextmanager
def _lower_layers(encoder: Encoder, below: int) -> Iterator[None]:
    """Inside the block the model ends below the trained layers, without its final norm."""
    layers, norm = _stack(encoder), getattr(encoder.model, "norm", None)
    encoder.model.layers, encoder.model.norm = layers[:below], nn.Identity()
    try:
        yield
    finally:
        encoder.model.layers, encoder.model.norm = layers, norm


@contextmanager
def _upper_layers(encoder: Encoder, first_layer: int) -> Iterator[None]:
    """Inside the block the model starts at ``first_layer``, from hidden states given as embeddings."""
    if first_layer == 1:
        yield
        return
    layers = _stack(encoder)
    encoder.model.layers = layers[first_layer - 1 :]
    try:
        yield
    finally:
        encoder.model.layers = layers


def _stack(encoder: Encoder) -> Any:
    layers = getattr(encoder.model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ConfigurationError(
            f"lora.first_layer: {encoder.settings.model} has no list of layers to run apart; set it to 1"
        )
    return layers
