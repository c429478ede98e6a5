"""An endpoint that does as it is told: it calls tools, keeps to schemas, and else says hello. And a LangSmith."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from routoo_core.testing import FakeEndpoint, Reply


def scripted(body):
    last = body["messages"][-1]
    if body.get("tools") and body.get("tool_choice") != "none" and last["role"] == "user":
        tool = _chosen(body)["function"]
        calls = [{"name": tool["name"], "arguments": _example(tool.get("parameters") or {}, last)}]
        return Reply("", tool_calls=calls)
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return Reply(json.dumps(_example(form["json_schema"]["schema"], last)))
    if form.get("type") == "json_object":
        return Reply('{"setup": "Why did the cat sit?", "punchline": "It could."}')
    return Reply("Hello there, what can I do for you?")


def _chosen(body):
    choice = body.get("tool_choice")
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    return next(
        (tool for tool in body["tools"] if tool["function"]["name"] == named), body["tools"][0]
    )


def _example(schema, message):
    """A value the schema allows: strings quote the message, numbers are 3."""
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], message)
    if schema.get("type") == "object" or "properties" in schema:
        return {
            name: _example(inner, message) for name, inner in schema.get("properties", {}).items()
        }
    if schema.get("type") in {"integer", "number"}:
        return 3
    if schema.get("type") == "boolean":
        return False
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), message)]
    said = message["content"]
    return said if isinstance(said, str) else "words"


class Obedient(dict):
    """Replies of an endpoint at which every model answers as it is told."""

    def get(self, model, default=None):
        return scripted


class StandIn(FakeEndpoint):
    """An endpoint that answers for every expert, as LocalEndpoint does, without a model."""

    def __init__(self):
        super().__init__()
        self.replies = Obedient()

    def stand_in_for(self, expert):
        return expert.model_copy(update={"base_url": self.base_url, "api_key_env": None})


class LangSmith:
    """A LangSmith of one project with these runs, as its client asks for them."""

    def __init__(self, runs):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _langsmith(runs))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _langsmith(runs):
    project = {
        "id": "00000000-0000-4000-8000-000000000000",
        "tenant_id": "00000000-0000-4000-8000-000000000001",
    }
    project |= {"name": "my-app", "start_time": "2026-01-01T00:00:00", "reference_dataset_id": None}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._json([project] if self.path.startswith("/sessions") else {})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._json(
                {
                    "runs": [run for run in runs if run["run_type"] == asked["run_type"]],
                    "cursors": {},
                }
            )

        def _json(self, body):
            payload = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    return Handler
