"""What workers of one machine share: one predictor, and the memory of who gave which reply."""

import pickle
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import wait_until

from routoo_core.errors import PredictionFailed
from routoo_core.experts import Pool
from routoo_core.loading import load_predictor
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.testing import FakePredictor
from routoo_integrations.gateway.authors import Author, Authors, Utterance
from routoo_integrations.gateway.machine import (
    MachineLine,
    MachineServer,
    SharedReplyMemory,
)
from routoo_integrations.gateway.predictor_elsewhere import PredictorElsewhere


class CountingPredictor(FakePredictor):
    """Notes how many prompts each pass has."""

    def __init__(self):
        super().__init__({"cheap": lambda prompt: len(prompt) / 100, "dear": 0.9})
        self.passes = []
        self.is_free = threading.Event()

    def predict(self, prompts):
        self.is_free.wait(20)
        self.passes.append(len(prompts))
        if any("fail" in prompt for prompt in prompts):
            raise ValueError("the prompt is secret")
        return super().predict(prompts)


@pytest.fixture
def predictor():
    return CountingPredictor()


@pytest.fixture
def machine(predictor):
    with MachineServer(predictor) as running:
        yield running


def test_the_predictions_of_all_workers_are_made_in_common_passes(machine, predictor):
    workers = [pickle.loads(pickle.dumps(machine.place.predictor())) for _ in range(2)]
    assert workers[0].experts == ("cheap", "dear")
    assert workers[0].fingerprint == "fake"
    prompts = ["a" * (number + 1) for number in range(20)]

    def predict(number):
        return workers[number % 2].predict([prompts[number]])[0]

    with ThreadPoolExecutor(20) as threads:
        predictions = threads.map(predict, range(20))
        time.sleep(0.3)
        predictor.is_free.set()
        for prompt, quality in zip(prompts, predictions, strict=True):
            assert np.allclose(quality, [len(prompt) / 100, 0.9])
    assert len(predictor.passes) < 10


def test_a_prediction_that_fails_is_an_error_without_its_prompt(machine, predictor):
    predictor.is_free.set()
    worker = machine.place.predictor()
    with pytest.raises(PredictionFailed, match="ValueError in the process") as raised:
        worker.predict(["please fail"])
    assert "secret" not in str(raised.value)
    with ThreadPoolExecutor(8) as threads:
        prompts = ["please fail", *(f"fine {number}" for number in range(7))]
        futures = [threads.submit(worker.predict, [prompt]) for prompt in prompts]
    assert isinstance(futures[0].exception(), PredictionFailed)
    assert all(future.result().shape == (1, 2) for future in futures[1:])
    assert worker.predict(["fine"]).shape == (1, 2)


def test_everything_that_a_predictor_knows_arrives():
    pool = Pool.read("here", {"gpt-4o-mini": {}, "claude-haiku-4-5": {}})
    whole = load_predictor(find_router("general-fast"), pool)
    prompts = ["What is 17 + 26?", "Schreibe ein Gedicht. \ud83d", ""]
    with MachineServer(whole) as machine:
        arrived = machine.place.predictor().forecast(prompts)
    for name, table in whole.forecast(prompts)._asdict().items():
        np.testing.assert_array_equal(getattr(arrived, name), table)


def test_a_machine_that_is_gone_is_an_error(predictor):
    predictor.is_free.set()
    with MachineServer(predictor) as machine:
        place = machine.place
    with pytest.raises(PredictionFailed, match="is gone"):
        place.predictor().predict(["hello"])


def test_a_reply_that_one_worker_handed_on_is_known_to_the_others(machine):
    first, second = (Authors([], SharedReplyMemory(machine.place)) for _ in range(2))
    author = Author("cheap", "pair")
    said = [Utterance("Hi", "Hello."), Utterance("Hi", "Else.")]
    first.note_reply(said[0], author)
    assert first.of_replies(said) == [author, None]
    wait_until(lambda: second.of_replies(said) == [author, None])


def test_a_connection_that_broke_is_replaced(machine, predictor):
    predictor.is_free.set()
    line = MachineLine(machine.place)
    worker = PredictorElsewhere(machine.place.description, line)
    worker.predict(["fine"])
    line._socket._connection.close()
    with pytest.raises(PredictionFailed, match="is gone"):
        worker.predict(["lost"])
    assert worker.predict(["fine again"]).shape == (1, 2)


def test_connections_that_cannot_be_accepted_flood_no_log(machine, predictor, caplog):
    predictor.is_free.set()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    worker = PredictorElsewhere(machine.place.description, MachineLine(machine.place))
    client = socket.socket(socket.AF_UNIX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no more than stdin, stdout and stderr
    try:
        client.connect(machine.place.address)
        client.close()  # it has taken the file that the first accept had asked for before
        time.sleep(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 1 <= caplog.text.count("a connection was refused: OSError") <= 10
    assert worker.predict(["fine"]).shape == (1, 2)
