"""Text becomes a vector that depends on the text alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.encoder import EncoderSettings, LocalEncoder

TEXTS = ["hi", "what is 12 + 13 ?", "a much longer text about nothing at all, really nothing", "x"]


def load(tiny_model, **settings):
    settings = EncoderSettings(**{"model": str(tiny_model), "layers": (1, 2), **settings})
    return LocalEncoder.load(settings, device="cpu", dtype="float32")


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
@pytest.mark.parametrize("layers", [(), (1,), (1, 3)])
def test_a_prompts_vector_does_not_depend_on_its_batch(tiny_model, pooling, layers):
    encoder = load(tiny_model, pooling=pooling, layers=layers)
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert together.shape == (4, encoder.dim) == (4, 32 * max(1, len(layers)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def hidden(tiny_model, text, layer):
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_model),
        AutoModel.from_pretrained(tiny_model).eval(),
    )
    with torch.inference_mode():
        return (
            model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            .hidden_states[layer][0]
            .numpy()
        )


def test_a_truncated_model_gives_the_whole_models_inner_layer(tiny_model):
    found = load(tiny_model, layers=(2,)).encode([TEXTS[1]])[0]
    np.testing.assert_allclose(found, hidden(tiny_model, TEXTS[1], 2).mean(0), atol=1e-5)


def test_layers_above_the_deepest_asked_for_are_not_loaded(tiny_model):
    assert len(load(tiny_model, layers=(1,)).model.layers) == 1


def test_no_layers_means_the_last_with_its_final_norm_as_in_the_paper(tiny_model):
    found = load(tiny_model, layers=(), pooling="last").encode([TEXTS[1]])[0]
    np.testing.assert_allclose(found, hidden(tiny_model, TEXTS[1], 3)[-1], atol=1e-5)


def test_a_long_prompt_keeps_its_head_and_its_tail(tiny_model):
    encoder = load(tiny_model, max_tokens=10)
    np.testing.assert_allclose(
        encoder.encode(["abcde" + "z" * 500 + "vwxyz"]), encoder.encode(["abcdevwxyz"]), atol=1e-6
    )


def test_an_empty_text_and_no_texts_are_no_errors(tiny_model):
    encoder = load(tiny_model)
    assert np.isfinite(encoder.encode([""])).all()
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_progress_is_told_in_prompts(tiny_model):
    told = []
    load(tiny_model).encode(TEXTS, batch_size=3, progress=told.append)
    assert told == [3, 1]


def test_a_layer_the_model_does_not_have_is_refused(tiny_model):
    with pytest.raises(ConfigurationError, match="layers: 9 asked for, but .* has 3"):
        load(tiny_model, layers=(9,))


def test_a_model_that_cannot_be_found_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="encoder .*nowhere.* cannot be loaded"):
        LocalEncoder.load(EncoderSettings(model=str(tmp_path / "nowhere")))


def test_a_small_model_computes_in_float32_on_a_cpu(tiny_model):
    encoder = LocalEncoder.load(EncoderSettings(model=str(tiny_model), layers=(1,)), "cpu")
    assert encoder.model.dtype == torch.float32


def test_threads_of_an_encoder_sleep_at_barriers():
    """Spinning ones slow a pass tenfold while another program needs a core."""
    code = "import os, routoo_core.predictor.encoder, torch; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "PASSIVE"


def test_layers_that_do_not_rise_are_refused():
    with pytest.raises(ConfigurationError, match="layers: .*does not rise"):
        EncoderSettings(layers=(2, 1))


@pytest.mark.slow
def test_a_gguf_file_is_an_encoder_too(tmp_path):
    from routoo_core import embedded

    path = embedded.cache_folder() / embedded.MODEL / embedded.GGUF
    if not path.is_file():
        pytest.skip("the embedded weights are not in the cache; routoo demo fetches them")
    # The embedded weights are kept in bfloat16; the file holds more digits.
    of_file = LocalEncoder.load(EncoderSettings(model=str(path), layers=(2,)), dtype="bfloat16")
    embedded_default = LocalEncoder.load(EncoderSettings(layers=(2,)), dtype="bfloat16")
    np.testing.assert_array_equal(of_file.encode(TEXTS), embedded_default.encode(TEXTS))
