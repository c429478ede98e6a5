"""An HTTP server on loopback: OpenAI's chat protocol, scripted answers, and bills to the token."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from routoo_core.experts import Expert
from routoo_core.testing.bills import Bill, JsonObject
from routoo_core.testing.chat_answers import ChatAnswer
from routoo_core.testing.embeddings import EmbeddingAnswer
from routoo_core.testing.replies import AUTO, Reply
from routoo_core.testing.text_completions import TextAnswer
from routoo_core.testing.wire import LoopbackServer, WireHandler, encode_body
from routoo_core.usage import Usage


class FakeEndpoint(LoopbackServer):
    """An HTTP server on loopback that speaks OpenAI's chat protocol, for as many models as asked.

    ::

        with FakeEndpoint() as endpoint:
            endpoint.replies["dear-model"] = Reply(status=500)
            pool = Pool([endpoint.expert("cheap"), endpoint.expert("dear", model="dear-model")])

    Attributes:
        replies: Model → what to do, or a function of the request's body that says so; others get ``Reply()``.
        requests: Bodies received, in order.
        headers: Headers received, in the same order; their names are in lower case.
        paths: Paths received, with their queries, in the same order.
        bills: What each request was billed, in the order in which they ended; there before the caller reads the end.
        hung_up: Models whose caller closed the connection before the reply was complete.
        llama: Whether it speaks llama.cpp's own words too: ``/tokenize``, a token for each character, and grammars of
            tokens.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.replies: dict[str, Reply | Callable[[JsonObject], Reply]] = {}
        self.requests: list[JsonObject] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.bills: list[Bill] = []
        self.hung_up: list[str] = []
        self.llama = False

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"{self.address}/v1"

    def expert(self, name: str, **settings: Any) -> Expert:
        """An expert served here. It costs 1 USD per million tokens unless the settings say otherwise."""
        defaults = {
            "model": name,
            "base_url": self.base_url,
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 1,
        }
        return Expert(name=name, **{**defaults, **settings})

    def reply_to(self, body: JsonObject) -> Reply:
        """What it does with a call of this body."""
        reply = self.replies.get(body["model"], Reply())
        return reply(body) if callable(reply) else reply


class _Handler(WireHandler):
    endpoint: FakeEndpoint

    def post(self, body: JsonObject) -> None:
        """Answer a request; everything but its completions is for llama.cpp."""
        path = urlsplit(self.path).path
        if path.endswith("/embeddings"):
            self._embed(body)
        elif path.endswith("/completions"):
            self._complete(body, is_chat=path.endswith("/chat/completions"))
        elif path.endswith("/tokenize") and self.endpoint.llama:
            self.send_body(200, {"tokens": [ord(character) for character in body["content"]]})
        else:
            self._send_error(404, Reply(), f"{self.path} is not served")

    def _note(self, body: JsonObject) -> None:
        endpoint = self.endpoint
        endpoint.paths.append(self.path)
        endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
        endpoint.requests.append(body)

    def _embed(self, body: JsonObject) -> None:
        self._note(body)
        reply = self.endpoint.reply_to(body)
        time.sleep(reply.delay_s)
        if not reply.answers:
            self._refuse_or_improvise(body, reply)
            return
        answer = EmbeddingAnswer(body)
        whole = answer.whole()
        usage = whole["usage"] if reply.report_usage else None
        if usage is None:
            del whole["usage"]
        self._bill(body, answer.tokens, usage)
        self.send_body(200, whole, reply.headers)

    def _complete(self, body: JsonObject, is_chat: bool) -> None:
        endpoint = self.endpoint
        self._note(body)
        try:
            self._answer(body, endpoint.reply_to(body), is_chat)
        except ConnectionError:
            endpoint.hung_up.append(body["model"])
            self.cut()

    def _answer(self, body: JsonObject, reply: Reply, is_chat: bool) -> None:
        time.sleep(reply.delay_s)
        if not reply.answers:
            self._refuse_or_improvise(body, reply)
        elif not is_chat:
            text_answer = TextAnswer(reply, body)
            self._bill(body, text_answer.tokens)
            self.send_body(200, text_answer.whole())
        elif reply.hang_after == 0:
            self._hang(body, ChatAnswer(reply, body))
        elif body.get("stream") and reply.streams:
            self._stream(body, ChatAnswer(reply, body), reply)
        elif reply.hang_after is not None:
            self._hang(body, ChatAnswer(reply, body))
        else:
            self._send_whole(body, ChatAnswer(reply, body), reply)

    def _bill(self, body: JsonObject, tokens: Usage, usage: Any = None) -> None:
        self.endpoint.bills.append(Bill(body, tokens, usage))

    def _hang(self, body: JsonObject, answer: ChatAnswer) -> None:
        self._bill(body, answer.tokens)
        self.wait_for_hang_up()

    # Whole answers

    def _refuse_or_improvise(self, body: JsonObject, reply: Reply) -> None:
        """An error status, a body of the test's own, or its own stream."""
        self._bill(body, reply.tokens_without_answer())
        if reply.body is not AUTO:
            self.send_body(reply.status, reply.body, reply.headers, reply.content_type)
        elif reply.status != 200:
            self._send_error(reply.status, reply, f"told to answer {reply.status}")
        else:
            self.start_stream()
            for event in reply.events or ():
                self.send_event(event)
            self._end_stream(reply)

    def _send_error(self, status: int, reply: Reply, message: str) -> None:
        error = reply.error or {"message": message, "type": "fake"}
        self.send_body(status, {"error": error}, reply.headers)

    def _send_whole(self, body: JsonObject, answer: ChatAnswer, reply: Reply) -> None:
        if reply.drop_after is not None:
            self._bill(body, answer.tokens)
            self.cut()
            return
        payload = encode_body(answer.whole())[: reply.cut_bytes]
        is_whole = reply.cut_bytes is None
        self._bill(body, answer.tokens, answer.last_usage if is_whole else None)
        self.send_body(200, payload, reply.headers, reply.content_type)

    # Streams

    def _stream(self, body: JsonObject, answer: ChatAnswer, reply: Reply) -> None:
        """Every way out of it bills once: for the words that were sent, or for all where it came to its end."""
        self.start_stream()
        chunk_count = 0
        is_billed = False
        try:
            for chunk in answer.opening_chunks():
                self.send_event(chunk)
            for position in range(len(answer.words)):
                time.sleep(reply.word_delay_s)
                if self._breaks_off(reply, position):
                    break
                self.send_event(answer.word_chunk(position))
                chunk_count = position + 1
            if self._breaks_off(reply, chunk_count):
                tokens = (
                    answer.tokens
                    if reply.hang_after == chunk_count
                    else answer.tokens_so_far(chunk_count)
                )
                self._bill(body, tokens, answer.last_usage)
                is_billed = True
                self._break_off(reply, chunk_count)
                return

            closing = answer.closing_chunks()
            self._bill(body, answer.tokens, answer.last_usage)
            is_billed = True
            for chunk in closing:
                self.send_event(chunk)
            self._end_stream(reply)
        finally:
            if not is_billed:
                self._bill(body, answer.tokens_so_far(chunk_count), answer.last_usage)

    @staticmethod
    def _breaks_off(reply: Reply, words: int) -> bool:
        return words in {reply.drop_after, reply.error_after, reply.hang_after}

    def _break_off(self, reply: Reply, words: int) -> None:
        """Die as told: by silence, by an error event, or by cutting the connection."""
        if words == reply.hang_after:
            self.wait_for_hang_up()
        elif words == reply.error_after:
            default = {"message": "told to fail", "type": "server_error", "code": None}
            self.send_event({"error": reply.error or default})
            self._end_stream(reply)
        else:
            self.cut()  # without an end

    def _end_stream(self, reply: Reply) -> None:
        if reply.done:
            self.send_event("[DONE]")
        self.end_stream()
