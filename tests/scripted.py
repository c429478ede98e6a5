"""An endpoint that obeys: it calls tools, keeps to schemas, and else says hello. And a LangSmith."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from routoo_core.testing import FakeEndpoint, Reply

PROJECT = {
    "id": "00000000-0000-4000-8000-000000000000",
    "tenant_id": "00000000-0000-4000-8000-000000000001",
    "name": "my-app",
    "start_time": "2026-01-01T00:00:00",
    "reference_dataset_id": None,
}


def scripted(body):
    """The reply of an expert that obeys: to tools with a call, to a schema with a value it allows."""
    last = body["messages"][-1]
    may_call = body.get("tools") and body.get("tool_choice") != "none"
    if may_call and last["role"] == "user":
        tool = chosen_tool(body)["function"]
        arguments = example_value(tool.get("parameters") or {}, last)
        return Reply("", tool_calls=[{"name": tool["name"], "arguments": arguments}])

    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        schema = response_format["json_schema"]["schema"]
        return Reply(json.dumps(example_value(schema, last)))
    if response_format.get("type") == "json_object":
        return Reply('{"setup": "Why did the cat sit?", "punchline": "It could."}')
    return Reply("Hello there, what can I do for you?")


def chosen_tool(body):
    """The tool that the call insists on, else the first."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        for tool in body["tools"]:
            if tool["function"]["name"] == choice["function"]["name"]:
                return tool
    return body["tools"][0]


def example_value(schema, message):
    """A value the schema allows: strings quote the message, numbers are 3."""
    if "anyOf" in schema:
        return example_value(schema["anyOf"][0], message)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: example_value(inner, message) for name, inner in properties.items()}
    if kind in {"integer", "number"}:
        return 3
    if kind == "boolean":
        return False
    if kind == "array":
        return [example_value(schema.get("items", {}), message)]
    content = message["content"]
    return content if isinstance(content, str) else "words"


class Obedient(dict):
    """Replies of an endpoint at which every model obeys."""

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
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), LangSmithHandler)
        self._server.runs = runs
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class LangSmithHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_json([PROJECT] if self.path.startswith("/sessions") else {})

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        runs = [run for run in self.server.runs if run["run_type"] == query["run_type"]]
        self.send_json({"runs": runs, "cursors": {}})

    def send_json(self, body):
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass
