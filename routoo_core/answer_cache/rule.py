"""``[cache]`` in routoo.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from routoo_core.settings import Settings


class CacheRule(Settings):
    """Which answers are stored, and for how long.

    Attributes:
        max_age_s: Seconds after which an answer is not given again.
        max_entries: Answers that are stored for each account; what was used longest ago goes first.
        rewrite_with: The expert that rewrites the answer to an earlier question that asks for the same in other words;
            ``None`` leaves such questions to the experts.
        min_similarity: Cosine of the vectors of two questions from which they may ask for the same. The default was
            calibrated for ``ngrams``.
        vectors: ``ngrams``, or ``predictor`` for those of the router's encoder.
        without_temperature: Whether calls that set no temperature may be answered from the cache. Their providers draw
            at random, but their callers have not asked for that.
    """

    max_age_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 86_400.0
    max_entries: Annotated[int, Field(ge=1)] = 10_000
    without_temperature: bool = True
    rewrite_with: Annotated[str, Field(min_length=1)] | None = None
    min_similarity: Annotated[float, Field(ge=0, le=1)] = 0.204
    vectors: Literal["ngrams", "predictor"] = "ngrams"
