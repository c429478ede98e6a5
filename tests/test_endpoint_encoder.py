"""Prompt vectors from an embedding endpoint: a real server that speaks OpenAI's protocol, with its odd answers."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from routoo_core.errors import ConfigurationError, PredictionFailed, PromptUnreadable
from routoo_core.loading import load_predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.encoder import EncoderSettings, encoder_fingerprint, load_encoder
from routoo_core.progress import SILENT
from routoo_core.tokens import count_tokens
from routoo_core.training.run import train_router
from routoo_core.training.settings import preset

DIM = 8


def vector_of(text):
    """Its length, its digits and its letters: enough to tell the tiny tables' prompts apart."""
    digits = sum(character.isdigit() for character in text)
    vector = np.zeros(DIM, dtype=np.float32)
    vector[:3] = (1, len(text) / 100, digits)
    return vector


class Embedder:
    """What the server is to do, and what it was asked."""

    def __init__(self):
        self.requests = []
        self.keys = []
        self.status = 200
        self.dropped = 0
        self.refused = None

    def answer(self, body):
        data = []
        for index, text in enumerate(body["input"]):
            vector = vector_of(text)
            value = vector.tolist()
            if body.get("encoding_format") == "base64":
                value = base64.b64encode(vector.tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": value})
        data.reverse()  # the order is said by the index alone
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {
            "object": "list",
            "data": data[self.dropped :],
            "model": body["model"],
            "usage": usage,
        }


@contextmanager
def serving(embedder):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            embedder.requests.append(body)
            embedder.keys.append(self.headers["Authorization"])
            content = json.dumps(embedder.answer(body)).encode()
            is_refused = embedder.refused in body["input"]
            self.send_response(400 if is_refused else embedder.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def embedder():
    return Embedder()


@pytest.fixture
def model(embedder):
    with serving(embedder) as address:
        yield f"{address}#tiny-embedding"


def test_vectors_come_in_the_order_of_the_texts(embedder, model):
    encoder = load_encoder(EncoderSettings(model=model))
    texts = [f"text {number}" * (1 + number % 3) for number in range(300)]
    advances = []
    vectors = encoder.encode(texts, progress=advances.append)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts])
    assert sum(advances) == 300
    assert len(embedder.requests) == 3
    assert encoder.dim == DIM
    assert encoder.encode([]).shape == (0, DIM)


def test_an_empty_text_is_sent_as_a_blank_and_a_long_one_keeps_head_and_tail(embedder, model):
    encoder = load_encoder(EncoderSettings(model=model, max_tokens=8))
    chinese = "\u4f60\u597d" * 200
    encoder.encode(["", chinese, f"first words {'and more ' * 50}last words"])
    empty, short, words = embedder.requests[0]["input"]
    assert empty == " "
    assert 0 < count_tokens(short) <= 16
    assert words.startswith("first") and words.endswith("words")
    assert count_tokens(words) <= 16


def test_a_router_is_trained_and_serves_by_an_endpoint(model, toy_outcomes, tmp_path):
    config = preset("knn", changes={"encoder": {"model": model, "layers": []}})
    folder = tmp_path / "router"
    train_router(toy_outcomes, config, folder, {"calculator": 2.0, "talker": 1.0}, SILENT)
    predictor = load_predictor(folder, ("calculator", "talker"))
    assert predictor.predict(["what is 31 + 44 ?"]).shape == (1, len(predictor.experts))
    assert encoder_fingerprint(config.encoder) == model


def test_a_failure_names_the_endpoint_and_no_prompt(embedder, model):
    encoder = load_encoder(EncoderSettings(model=model))
    embedder.status = 500
    with pytest.raises(PredictionFailed, match="InternalServerError; is the endpoint up") as caught:
        encoder.encode(["a secret prompt"])
    assert "secret" not in str(caught.value)


def test_a_text_that_the_endpoint_refuses_fails_its_own_caller_alone(embedder, model):
    encoder = load_encoder(EncoderSettings(model=model))

    class FirstNumber:
        experts, fingerprint = ("one",), "first"

        def predict(self, prompts):
            return encoder.encode(prompts)[:, :1]

    embedder.refused = "a secret prompt"
    batching = BatchingPredictor(FirstNumber())
    with pytest.raises(PromptUnreadable, match="refused a text with status 400") as caught:
        batching.predict(["one", "a secret prompt", "three"])
    assert "secret" not in str(caught.value)
    assert batching.predict(["one", "three"]).shape == (2, 1)
    inputs = [request["input"] for request in embedder.requests]
    assert inputs.count(["three"]) == 1  # it was predicted beside the refused one


def test_fewer_vectors_than_texts_are_refused(embedder, model):
    embedder.dropped = 1
    with pytest.raises(PredictionFailed, match="1 vectors of lengths .* for 2 texts"):
        load_encoder(EncoderSettings(model=model)).encode(["a", "b"])


def test_another_server_gets_its_own_key_and_never_openai_s(embedder, model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    load_encoder(EncoderSettings(model=model)).encode(["a"])
    monkeypatch.setenv("EMBEDDING_API_KEY", "key-of-the-server")
    load_encoder(EncoderSettings(model=model)).encode(["a"])
    assert embedder.keys == ["Bearer none", "Bearer key-of-the-server"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("https://host/v1", "names no model; write its name behind the address"),
        ("https://user:secret@host/v1#m", "take the key out of the address"),
        ("https://api.openai.com/v1#text-embedding-3-small", "OPENAI_API_KEY is not set"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_a_byte_is_sent(
    model, reason, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=reason):
        load_encoder(EncoderSettings(model=model))
