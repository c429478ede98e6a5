"""What the workers of one machine share, in the process that started them: predictions, and who gave which reply.

That process has loaded the predictor once, and puts the predictions of all workers into common passes. A worker asks it
through a Unix socket that only processes it started may use. Questions are JSON, and nothing is unpickled.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import current_process
from multiprocessing.connection import Client, Connection, Listener
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from routoo_core.errors import PredictionFailed
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_integrations.gateway.authors import ReplyMemory
from routoo_integrations.gateway.predictor_elsewhere import (
    PredictorDescription,
    PredictorElsewhere,
    answer_prompts,
)

_LOGGER = logging.getLogger(__name__)
_BROKEN = (EOFError, OSError)
"""What a connection raises whose other side is gone."""
_PAUSE_S = 0.2
"""After a connection that could not be accepted."""


class _Question(NamedTuple):
    """What a worker asks.

    Attributes:
        kind: ``predict`` and ``find`` are answered; ``note`` is not.
        texts: Prompts, digests in hexadecimal, or one digest and the name of an expert.
    """

    kind: Literal["predict", "find", "note"]
    texts: list[str]

    def encode(self) -> bytes:
        """The question as bytes."""
        return json.dumps(self).encode()

    @classmethod
    def decode(cls, content: bytes) -> _Question:
        """Read a question from bytes."""
        return cls(*json.loads(content))


class MachineServer:
    """Answers the workers of this machine; use as a context manager around them.

    ::

        with MachineServer(router.predictor) as machine:
            Workers(partial(serve, machine.place), listening, 4).run()

    Args:
        predictor: Predicts for all of them.
    """

    def __init__(self, predictor: Predictor) -> None:
        if not isinstance(predictor, BatchingPredictor):
            predictor = BatchingPredictor(predictor)
        self._predictor = predictor
        self._replies = ReplyMemory()
        self._listener = Listener(authkey=current_process().authkey, backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True, name="routoo-machine")
        self._is_closed = False

    @property
    def place(self) -> MachinePlace:
        """Where workers find it."""
        return MachinePlace(str(self._listener.address), PredictorDescription.of(self._predictor))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._is_closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection = self._listener.accept()
            except Exception as error:  # noqa: BLE001 (a stranger, or a worker that died meanwhile)
                if not self._is_closed:
                    _LOGGER.warning("a connection was refused: %s", type(error).__name__)
                    time.sleep(_PAUSE_S)  # what is short, such as files, may be there again then
                continue
            threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def _answer_all(self, connection: Connection[Any, Any]) -> None:
        """Answer one connection until its worker ends."""
        with suppress(*_BROKEN), connection:
            while True:
                answer = self._answer(_Question.decode(connection.recv_bytes()))
                if answer is not None:
                    connection.send_bytes(answer)

    def _answer(self, question: _Question) -> bytes | None:
        if question.kind == "predict":
            return answer_prompts(self._predictor, question.texts)
        if question.kind == "find":
            digests = [bytes.fromhex(digest) for digest in question.texts]
            return json.dumps(self._replies.find(digests)).encode()
        digest, expert = question.texts
        self._replies.note(bytes.fromhex(digest), expert)
        return None


@dataclass(frozen=True)
class MachinePlace:
    """Where a :class:`MachineServer` is found, and what its predictor is.

    Attributes:
        address: Of its socket.
        description: Of its predictor.
    """

    address: str
    description: PredictorDescription

    def connect(self) -> Connection[Any, Any]:
        """A connection to it.

        Raises:
            OSError: It is gone.
        """
        return Client(self.address, authkey=current_process().authkey)

    def predictor(self) -> BatchingPredictor:
        """Its predictor, for a worker: what the worker asks at once is asked together."""
        return BatchingPredictor(PredictorElsewhere(self.description, MachineLine(self)))


class MachineLine:
    """The way to the predictor of a machine, for one question at a time; safe from any thread, and can be pickled.

    Args:
        place: Where it is.
    """

    def __init__(self, place: MachinePlace) -> None:
        self._place = place
        self._socket = _Socket(place)

    def ask(self, prompts: Sequence[str]) -> bytes:
        """What the machine's predictor answers.

        Raises:
            PredictionFailed: Its process is gone.
        """
        try:
            return self._socket.ask(_Question("predict", list(prompts)))
        except _BROKEN as error:
            raise PredictionFailed("the process that predicts for all workers is gone") from error

    def __reduce__(self) -> tuple[type[MachineLine], tuple[MachinePlace]]:
        return type(self), (self._place,)


class SharedReplyMemory(ReplyMemory):
    """Remembers which expert gave which reply, for all workers of a machine. Notes are sent in the background.

    Args:
        place: The address of the workers' common memory.
    """

    def __init__(self, place: MachinePlace) -> None:
        super().__init__()
        self._socket = _Socket(place)
        self._notes: SimpleQueue[tuple[bytes, str]] = SimpleQueue()
        self._sender = threading.Thread(target=self._send_all, daemon=True, name="routoo-notes")
        self._sender.start()

    def note(self, digest: bytes, author: str) -> None:
        """Remember who gave a reply, here and in the common memory."""
        super().note(digest, author)
        self._notes.put((digest, author))

    def find(self, digests: Sequence[bytes]) -> list[str | None]:
        """The experts that gave some replies. The common memory is asked for those that this process does not know."""
        experts = super().find(digests)
        unknown = [
            digest for digest, expert in zip(digests, experts, strict=True) if expert is None
        ]
        if not unknown:
            return experts
        question = _Question("find", [digest.hex() for digest in unknown])
        try:
            authors: list[str | None] = json.loads(self._socket.ask(question))
        except _BROKEN:  # without them the conversation goes on, with any expert
            return experts
        answers = dict(zip(unknown, authors, strict=True))
        for digest, expert in answers.items():
            if expert is not None:
                super().note(digest, expert)
        return [
            expert or answers.get(digest) for digest, expert in zip(digests, experts, strict=True)
        ]

    def _send_all(self) -> None:
        while True:
            digest, expert = self._notes.get()
            with suppress(*_BROKEN):
                self._socket.tell(_Question("note", [digest.hex(), expert]))


class _Socket:
    """A connection that is opened when it is first used, for one question at a time."""

    def __init__(self, place: MachinePlace) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._connection: Connection[Any, Any] | None = None

    def ask(self, question: _Question) -> bytes:
        """The answer to a question.

        Raises:
            OSError: The other process is gone.
            EOFError: It went meanwhile.
        """
        with self._lock, self._open_connection() as connection:
            connection.send_bytes(question.encode())
            return connection.recv_bytes()

    def tell(self, question: _Question) -> None:
        """Send what is not answered; errors as in :meth:`ask`."""
        with self._lock, self._open_connection() as connection:
            connection.send_bytes(question.encode())

    @contextmanager
    def _open_connection(self) -> Iterator[Connection[Any, Any]]:
        """The connection; one that an exception leaves in the middle of a question is not used again."""
        if self._connection is None:
            self._connection = self._place.connect()
        try:
            yield self._connection
        except BaseException:
            self._connection.close()
            self._connection = None
            raise
