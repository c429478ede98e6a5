"""Experts that are a Hugging Face model in this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from routoo_core import embedded
from routoo_core.asking.calls import Call, Chat, ClientReply, Likelihood
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert
from routoo_core.threads import off_loop
from routoo_core.usage import Usage


@dataclass(frozen=True)
class _ModelParts:
    tokenizer: Any
    model: Any


class LocalModel:
    """Calls a model in this process, one call at a time: ``provider = "huggingface"``.

    The expert's ``model`` is a folder, a hub id, a ``.gguf`` file or
    ``embedded:smollm2-135m-instruct``.

    Args:
        expert: The expert.
        dtype: Name of torch's type for the weights.

    Raises:
        ConfigurationError: The model cannot be loaded.
    """

    def __init__(self, expert: Expert, dtype: str = "float32") -> None:
        self.expert = expert
        self._dtype = dtype
        self._lock = threading.Lock()

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The reply; see :class:`~routoo_core.asking.calls.ExpertClient`."""
        return await off_loop(lambda: self._answer(call, max_tokens))

    def _answer(self, call: Call, max_tokens: int) -> ClientReply:
        with self._lock:
            if isinstance(call, Chat):
                return self._chat(call, max_tokens)
            return self._likelihood(call)

    @cached_property
    def _parts(self) -> _ModelParts:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from routoo_core.predictor.encoder import EMBEDDED, best_device, pretrained

        name = self.expert.model
        source, options = pretrained(name)
        dtype = getattr(torch, self._dtype)
        try:
            with embedded.quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(source, **options)
                model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"expert {self.expert.name!r}: model {name!r} cannot be loaded ({reason}); give a "
                f"folder, a hub id that can be reached, or {EMBEDDED}"
            ) from error
        return _ModelParts(tokenizer, model.eval().to(device=best_device()))

    def _likelihood(self, call: Likelihood) -> ClientReply:
        import torch

        tokenizer = self._parts.tokenizer
        model = self._parts.model
        context = tokenizer(call.context)["input_ids"]
        tokens = tokenizer(call.context + call.continuation)["input_ids"]

        with torch.inference_mode():
            ids = torch.tensor([tokens], device=model.device)
            # The logits at each position predict the token after it.
            start = len(context)
            logits = model(ids).logits[0, start - 1 : -1].float()
            continuation = ids[0, start:, None]
            logprobs = logits.log_softmax(-1).gather(1, continuation)
        return ClientReply(Usage(len(tokens), 0), logprob=float(logprobs.sum()))

    def _chat(self, call: Chat, max_tokens: int) -> ClientReply:
        import torch

        tokenizer = self._parts.tokenizer
        model = self._parts.model
        prompt = self._tokenize_chat(call).to(model.device)
        prompt_tokens = prompt["input_ids"].shape[1]
        sampling: dict[str, Any] = {"do_sample": False}
        if call.temperature:
            sampling = {"do_sample": True, "temperature": call.temperature}

        with torch.inference_mode():
            output = model.generate(
                prompt["input_ids"],
                attention_mask=prompt["attention_mask"],
                max_new_tokens=max_tokens,
                **sampling,
            )
        reply = output[0, prompt_tokens:]
        text = tokenizer.decode(reply, skip_special_tokens=True)
        return ClientReply(Usage(prompt_tokens, len(reply)), text)

    def _tokenize_chat(self, call: Chat) -> Any:
        """The conversation in the model's own template; plain paragraphs where it has none."""
        tokenizer = self._parts.tokenizer
        if not tokenizer.chat_template:
            text = "\n\n".join(text for _, text in call.messages)
            return tokenizer(text, return_tensors="pt")
        messages = [{"role": role, "content": text} for role, text in call.messages]
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
