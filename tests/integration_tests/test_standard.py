"""LangChain's own integration tests of a chat model, over a router of two OpenAI-protocol endpoints.

Skipped: the stream timed against a recorded provider, of which there is none.
"""

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from scripted import scripted

from routoo_core.testing import FakeEndpoint, FakePredictor
from routoo_integrations.langchain import RoutooChatModel


class Picture:
    content = b"a picture"


@pytest.mark.filterwarnings(
    "ignore:OpenAI may require a filename", "ignore:LANGCHAIN_TESTS_USER_AGENT"
)
class TestRoutooChatModel(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _pool(self, monkeypatch):
        monkeypatch.setattr(
            "langchain_tests.integration_tests.chat_models.httpx.get", lambda *_, **__: Picture
        )
        can = {"tools", "json_schema", "images", "audio", "files"}
        with FakeEndpoint() as one, FakeEndpoint() as other:
            one.replies, other.replies = {"cheap": scripted}, {"dear": scripted}
            self.experts = {
                "cheap": one.expert("cheap", capabilities=can, context_window=64_000),
                "dear": other.expert("dear", capabilities=can, context_window=64_000),
            }
            yield

    @property
    def chat_model_class(self):
        return RoutooChatModel

    @property
    def chat_model_params(self):
        return {
            "router": FakePredictor({"cheap": 0.4, "dear": 0.9}),
            "experts": self.experts,
            "policy": "best",
        }

    @property
    def model_override_value(self):
        return "cheap"

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_image_urls(self):
        return True

    @property
    def supports_audio_inputs(self):
        return True

    @property
    def supports_pdf_inputs(self):
        return True

    @property
    def supports_image_tool_message(self):
        return True

    @property
    def supports_pdf_tool_message(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True
