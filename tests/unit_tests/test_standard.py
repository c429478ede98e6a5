"""LangChain's own unit tests of a chat model, over a router of two OpenAI-protocol endpoints.

Skipped: initialisation from the environment (keys are named by each expert, not by the model), and LangChain's own
serialisation, whose loader admits no class outside its list (``to_config`` is ours).
"""

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel


class TestRoutooChatModel(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _pool(self, endpoint):
        can = {"tools", "json_schema", "images"}
        self.experts = {name: endpoint.expert(name, capabilities=can) for name in ("cheap", "dear")}

    @property
    def chat_model_class(self):
        return RoutooChatModel

    @property
    def standard_chat_model_params(self):
        params = super().standard_chat_model_params
        del params[
            "api_key"
        ]  # a pool has as many keys as experts, each read from the environment (api_key_env)
        return params

    @property
    def chat_model_params(self):
        return {
            "router": FakePredictor({"cheap": 0.4, "dear": 0.9}),
            "experts": self.experts,
            "policy": "best",
        }

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_json_mode(self):
        return True
