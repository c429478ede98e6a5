"""Encoder and heads trained together: LoRA on the upper layers, the layers below run once (paper §3.2, §4.1)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from peft import get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from routoo_core.errors import ConfigurationError
from routoo_core.files import replacing
from routoo_core.predictor.adapter import Adapter, LoraSettings, adapted_modules
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.encoder import LocalEncoder, load_encoder
from routoo_core.predictor.head_ensemble import HeadEnsemble
from routoo_core.predictor.heads import Head
from routoo_core.progress import Update
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.encoder_tuning import peft_config
from routoo_core.training.head_ensemble import (
    HeadTrainingSettings,
    masked_cross_entropy,
    no_updates,
    training_loss,
)
from routoo_core.training.labels import Labels, make_labels, prompt_domains
from routoo_core.training.lora import FineTuning

SAVE_EVERY = 50
"""Steps between two saves; a killed run loses at most so many."""

EVALUATION_BATCH = 16
MAX_GRADIENT_NORM = 1.0


def fine_tune(
    encoder: LocalEncoder,
    ensemble: HeadEnsemble,
    data: EncodedOutcomes,
    plan: FineTuning,
    progress: Update = no_updates,
) -> Adapter:
    """Train an adapter and the heads on the ``train`` rows; both end as they were after the best epoch on dev.

    Under ``accelerate launch`` every process takes its share of the batches. Every step's randomness depends on the
    seed and the step alone, so a run that was killed and started again ends as if it had not been.

    Args:
        encoder: Used up: its model is changed. Load another with the adapter.
        ensemble: Trained on the data's vectors; its heads are changed in place.
        data: N prompts × M experts with the encoder's vectors before any fine-tuning; missing pairs carry no loss.
        plan: What is trained and how.
        progress: Called with a line now and then.

    Raises:
        ConfigurationError: The layers cannot be run apart from those below them, or have no such matrices.
    """
    lora = plan.lora
    accelerator = Accelerator()
    target_modules = adapted_modules(encoder.model, lora)
    inputs = _run_lower_layers(encoder, data, lora.first_layer, progress)

    torch.manual_seed(plan.seed)
    lora_model = get_peft_model(encoder.model, peft_config(lora, target_modules))
    if lora.checkpointing:
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})

    domain_weight = _head_settings(plan).domain_weight
    module = _EncoderWithHeads(encoder, ensemble.heads, inputs, domain_weight)
    run = _Run(module, data, plan, accelerator)
    with _only_upper_layers(encoder, lora.first_layer):
        run.train(progress)

    weights = {}
    for name, value in get_peft_model_state_dict(lora_model).items():
        weights[name] = value.detach().float().cpu()
    for head in ensemble.heads:
        head.cpu().eval().requires_grad_(False)

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        plan.resume_file.unlink(missing_ok=True)
    return Adapter.from_peft(lora.rank, lora.alpha, weights)


def fine_tune_ensemble(
    ensemble: HeadEnsemble, data: EncodedOutcomes, plan: FineTuning, progress: Update
) -> Adapter:
    """:func:`fine_tune` with the plan's encoder.

    Raises:
        ConfigurationError: See :func:`fine_tune`; or the encoder is not a local model.
    """
    encoder = load_encoder(plan.encoder)
    if not isinstance(encoder, LocalEncoder):
        raise ConfigurationError(
            f"lora: encoder {plan.encoder.model!r} is not a local model and cannot be trained; leave lora out"
        )
    return fine_tune(encoder, ensemble, data, plan, progress)


def _head_settings(plan: FineTuning) -> HeadTrainingSettings:
    settings = plan.algorithm_settings
    assert isinstance(settings, HeadTrainingSettings)  # noqa: S101
    return settings


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
        """Arguments of :meth:`_EncoderWithHeads.vectors` for these prompts."""
        lengths = torch.tensor([len(self.rows[row]) for row in rows])
        batch_rows = nn.utils.rnn.pad_sequence([self.rows[row] for row in rows], batch_first=True)
        mask = torch.arange(batch_rows.shape[1]) < lengths[:, None]
        return {
            "padded": batch_rows.to(device),
            "mask": mask.to(device),
            "fixed": self.fixed[list(rows)].to(device),
        }

    def length(self, row: int) -> int:
        """Tokens of a prompt."""
        return len(self.rows[row])


class _EncoderWithHeads(nn.Module):
    """Inputs → the loss of all members together, or the vectors that the heads read."""

    def __init__(
        self,
        encoder: LocalEncoder,
        heads: Sequence[Head],
        inputs: _Inputs,
        domain_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = encoder.model
        self.heads = nn.ModuleList(heads).to(encoder.model.device)
        self.inputs = inputs
        self.domain_weight = domain_weight
        self.layers = []
        for layer in encoder.settings.layers:
            if layer > inputs.below:
                self.layers.append(layer - inputs.below)
        self._pool = encoder.pool

        self.requires_grad_(False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("lora_" in name or name.startswith("heads."))

    def forward(self, batch: dict[str, Tensor], labels: Labels) -> Tensor:
        vectors = self.vectors(**batch)
        losses = []
        for head in self.heads:
            losses.append(training_loss(head, vectors, labels, self.domain_weight))  # type: ignore[arg-type]
        return torch.stack(losses).sum()

    def vectors(self, padded: Tensor, mask: Tensor, fixed: Tensor) -> Tensor:
        argument = "inputs_embeds" if self.inputs.below else "input_ids"
        upper = self._pool(mask, self.layers, **{argument: padded})
        return torch.cat([fixed, upper], dim=-1)

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


class _Run:
    """The optimiser's side: steps, learning rates, the best state so far, and what a killed run needs to go on."""

    def __init__(
        self,
        module: _EncoderWithHeads,
        data: EncodedOutcomes,
        plan: FineTuning,
        accelerator: Accelerator,
    ) -> None:
        self.module = module
        self.lora = plan.lora
        self.seed = plan.seed
        self.resume_file = plan.resume_file
        self.accelerator = accelerator

        heads = _head_settings(plan)
        domains = prompt_domains(data, heads.clusters, plan.seed)
        self.labels = make_labels(data.outcomes, domains.number, heads.levels)
        self.train_rows: list[int] = data.outcomes.rows("train").tolist()
        self.dev_rows: list[int] = data.outcomes.rows("dev").tolist()

        self.trained = module.trained_parameters()
        self.optimiser = _make_optimiser(self.trained, plan.lora)
        self.parallel_module = (
            accelerator.prepare(module) if accelerator.num_processes > 1 else module
        )

        self.batches_per_step = plan.lora.accumulate * accelerator.num_processes
        prompts_per_step = plan.lora.batch_size * self.batches_per_step
        self.steps_per_epoch = math.ceil(len(self.train_rows) / prompts_per_step)
        self.steps = self.steps_per_epoch * plan.lora.epochs

        self.best_loss = math.inf
        self.best = self._copy_parameters()

    def train(self, progress: Update) -> None:
        """Go on to the last step; the module ends with the parameters of the best epoch."""
        first_step = self._resume()
        start = time.monotonic()
        for step in range(first_step, self.steps):
            self._run_step(step)
            steps_so_far = step + 1
            epoch = step // self.steps_per_epoch + 1
            epoch_ends = steps_so_far % self.steps_per_epoch == 0

            if epoch_ends:
                progress(f"LoRA: epoch {epoch} of {self.lora.epochs} is measured")
                self._measure_epoch()
            if epoch_ends or steps_so_far % SAVE_EVERY == 0:
                self._save(steps_so_far)

            seconds_per_step = (time.monotonic() - start) / (steps_so_far - first_step)
            minutes_left = seconds_per_step * (self.steps - steps_so_far) / 60
            progress(
                f"LoRA: epoch {epoch}/{self.lora.epochs} · step {steps_so_far}/{self.steps} · "
                f"{minutes_left:.0f} min left{self._describe_best_loss()}"
            )

        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(self.best[name])

    def _describe_best_loss(self) -> str:
        if self.best_loss == math.inf:
            return ""
        return f" · best dev loss {self.best_loss:.4f}"

    def _run_step(self, step: int) -> None:
        torch.manual_seed(hash((self.seed, step, self.accelerator.process_index)) % 2**31)
        self.module.train()
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * rate(step, self.steps)

        # First, since the heads come with gradients of their own training.
        self.optimiser.zero_grad()
        batches = self._batches(step)
        for number, rows in enumerate(batches, start=1):
            with self._gradient_sync(is_last=number == len(batches)):
                batch = self.module.inputs.batch(rows, self.accelerator.device)
                labels = self.labels.take(rows).to(self.accelerator.device)
                loss = self.parallel_module(batch, labels)
                self.accelerator.backward(loss / len(batches))
        nn.utils.clip_grad_norm_(self.trained.values(), MAX_GRADIENT_NORM)
        self.optimiser.step()

    def _gradient_sync(self, is_last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients after the last batch of a step only."""
        if is_last:
            return nullcontext()
        sync: AbstractContextManager[Any] = self.accelerator.no_sync(self.parallel_module)
        return sync

    def _batches(self, step: int) -> list[list[int]]:
        """This process's batches of one step: prompts of similar length together, in an order drawn for the epoch."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        random = np.random.default_rng((self.seed, epoch))
        batches = self._batches_by_length(random)

        # np.resize repeats some batches, so that every process has equally many.
        order = np.resize(
            random.permutation(len(batches)), self.steps_per_epoch * self.batches_per_step
        )
        start = step_in_epoch * self.batches_per_step
        of_step = order[start : start + self.batches_per_step]
        process = self.accelerator.process_index
        of_process = of_step[process :: self.accelerator.num_processes]
        return [batches[number] for number in of_process]

    def _batches_by_length(self, random: np.random.Generator) -> list[list[int]]:
        """The ``train`` rows in batches of similar length, up to a tenth of noise."""
        lengths = np.array([self.module.inputs.length(row) for row in self.train_rows])
        noisy_lengths = lengths * random.uniform(0.9, 1.1, len(lengths))
        order = np.argsort(noisy_lengths, kind="stable")
        batches = []
        for start in range(0, len(order), self.lora.batch_size):
            chunk = order[start : start + self.lora.batch_size]
            batches.append([self.train_rows[index] for index in chunk])
        return batches

    def _measure_epoch(self) -> None:
        """Keep the parameters if the loss on dev is the best so far."""
        loss = self._dev_loss()
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = self._copy_parameters()

    @torch.inference_mode()
    def _dev_loss(self) -> float:
        """Mean loss of the members over the observed pairs of dev; of train where there is no dev prompt."""
        self.module.eval()
        rows = sorted(self.dev_rows or self.train_rows, key=self.module.inputs.length)
        total = 0.0
        pairs = 0.0
        for start in range(0, len(rows), EVALUATION_BATCH):
            batch = rows[start : start + EVALUATION_BATCH]
            labels = self.labels.take(batch).to(self.accelerator.device)
            inputs = self.module.inputs.batch(batch, self.accelerator.device)
            vectors = self.module.vectors(**inputs)

            losses = [masked_cross_entropy(head(vectors), labels) for head in self.module.heads]
            observed_pairs = float(labels.observed.sum())
            total += float(torch.stack(losses).mean()) * observed_pairs
            pairs += observed_pairs
        return total / max(pairs, 1.0)

    def _copy_parameters(self) -> dict[str, Tensor]:
        copies = {}
        for name, parameter in self.trained.items():
            copies[name] = parameter.detach().clone()
        return copies

    def _save(self, step: int) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trained.items():
            tensors[f"now.{name}"] = parameter.detach()
            tensors[f"best.{name}"] = self.best[name]
            for kind, value in self.optimiser.state[parameter].items():
                tensors[f"{kind}.{name}"] = value

        metadata = {"done": str(step), "best_loss": repr(self.best_loss)}
        with replacing(self.resume_file) as partial:
            save_file(tensors, partial, metadata)

    def _resume(self) -> int:
        """The step to go on with: 0, or the one after the last that a killed run saved."""
        if not self.resume_file.is_file():
            return 0
        with safe_open(self.resume_file, "pt") as file:
            metadata = file.metadata()
            self.best_loss = float(metadata["best_loss"])
            for name, parameter in self.trained.items():
                parameter.data.copy_(file.get_tensor(f"now.{name}"))
                self.best[name] = file.get_tensor(f"best.{name}").to(parameter.device)
                self.optimiser.state[parameter] = {
                    "step": file.get_tensor(f"step.{name}"),
                    "exp_avg": file.get_tensor(f"exp_avg.{name}").to(parameter.device),
                    "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").to(parameter.device),
                }
        return int(metadata["done"])


def _make_optimiser(
    parameters: dict[str, nn.Parameter], lora: LoraSettings
) -> torch.optim.Optimizer:
    """AdamW with a learning rate of their own for the adapters and for the heads."""
    of_adapters = []
    of_heads = []
    for name, parameter in parameters.items():
        if name.startswith("heads."):
            of_heads.append(parameter)
        else:
            of_adapters.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": of_adapters, "lr": lora.learning_rate, "highest": lora.learning_rate},
        {"params": of_heads, "lr": lora.head_learning_rate, "highest": lora.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=lora.weight_decay)


def rate(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step: up over the first tenth, then down along a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return 0.5 * (1 + math.cos(math.pi * progress))


@torch.inference_mode()
def _run_lower_layers(
    encoder: LocalEncoder, data: EncodedOutcomes, first_layer: int, progress: Update
) -> _Inputs:
    """Hidden states below the trained layers, or token ids where the first layer is trained."""
    below = first_layer - 1
    token_ids = encoder.tokens(data.outcomes.prompts)
    # The fixed layers are the first ones, since the settings' layers rise.
    fixed_layers = sum(layer <= below for layer in encoder.settings.layers)
    fixed_width = fixed_layers * encoder.model.config.hidden_size
    lower_vectors = torch.from_numpy(data.vectors[:, :fixed_width])
    if not below:
        return _Inputs([torch.tensor(ids) for ids in token_ids], lower_vectors, below)

    states = _lower_states(encoder, token_ids, below, progress)
    inputs = _Inputs(states, lower_vectors, below)
    _check_halves_make_the_whole(encoder, inputs, data.vectors)
    return inputs


def _lower_states(
    encoder: LocalEncoder, token_ids: list[list[int]], below: int, progress: Update
) -> list[Tensor]:
    """For each prompt the hidden states after the lower layers, (tokens, hidden)."""
    states: list[Tensor] = [torch.empty(0)] * len(token_ids)
    by_length = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]))
    with _only_lower_layers(encoder, below):
        for start in range(0, len(by_length), EVALUATION_BATCH):
            rows = by_length[start : start + EVALUATION_BATCH]
            input_ids, mask = encoder.pad([token_ids[row] for row in rows])
            output = encoder.model(input_ids=input_ids, attention_mask=mask.long(), use_cache=False)
            for state, row in zip(output.last_hidden_state, rows, strict=True):
                length = len(token_ids[row])
                states[row] = state[:length].cpu().clone()

            count = start + len(rows)
            progress(f"LoRA: layers below {below + 1}, run once · {count}/{len(by_length)} prompts")
    return states


def _check_halves_make_the_whole(encoder: LocalEncoder, inputs: _Inputs, vectors: Vectors) -> None:
    """Some models do more than run their layers; lower and upper layers one after the other are not the model."""
    module = _EncoderWithHeads(encoder, [], inputs)
    with _only_upper_layers(encoder, inputs.below + 1):
        batch = inputs.batch([0], encoder.model.device)
        vector = encoder.pool(batch["mask"], module.layers, inputs_embeds=batch["padded"])
    in_halves = vector.cpu().numpy()[0]

    whole = vectors[0, inputs.fixed.shape[1] :]
    if np.abs(in_halves - whole).mean() > 0.05 * np.abs(whole).mean():
        raise ConfigurationError(
            f"lora.first_layer: the layers of {encoder.settings.model} cannot be run in two halves; set it to 1"
        )


@contextmanager
def _only_lower_layers(encoder: LocalEncoder, below: int) -> Iterator[None]:
    """Inside the block the model ends below the trained layers, without its final norm."""
    layers = _layer_list(encoder)
    norm = getattr(encoder.model, "norm", None)
    encoder.model.layers = layers[:below]
    encoder.model.norm = nn.Identity()
    try:
        yield
    finally:
        encoder.model.layers = layers
        encoder.model.norm = norm


@contextmanager
def _only_upper_layers(encoder: LocalEncoder, first_layer: int) -> Iterator[None]:
    """Inside the block the model starts at ``first_layer``, from hidden states given as embeddings."""
    if first_layer == 1:
        yield
        return
    layers = _layer_list(encoder)
    encoder.model.layers = layers[first_layer - 1 :]
    try:
        yield
    finally:
        encoder.model.layers = layers


def _layer_list(encoder: LocalEncoder) -> Any:
    layers = getattr(encoder.model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ConfigurationError(
            f"lora.first_layer: {encoder.settings.model} has no list of layers to run apart; set it to 1"
        )
    return layers
