"""What experts.toml says of an endpoint is what its clients send: key, reply limit, Azure's deployment and version."""

import asyncio
import re
from pathlib import Path

import pytest
from gateway_parts import post

from routoo_core import Budget, Expert, Pool, Router
from routoo_core.asking.clients import make_clients
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.selector import Best
from routoo_core.testing import FakeEndpoint, FakePredictor
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.profiles import describe_model
from routoo_integrations.langchain.protocols import build_chat_model
from routoo_integrations.llama_index import RoutooLLM
from routoo_integrations.llama_index.clients import build_llm

FRAMEWORKS = [RoutooChatModel, RoutooLLM]
WAYS = ["whole", "streamed", "async", "async streamed"]
FREE = {"input_usd_per_1m": 0, "output_usd_per_1m": 0}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_API_BASE",
        "OPENAI_BASE_URL",
        "OPENAI_API_VERSION",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)


def router_of(expert):
    return Router(
        Pool([expert]),
        FakePredictor({expert.name: 0.9}),
        Best(),
        Budget(limit="1.00"),
        SqliteLedger(),
    )


def ask(framework, router, way):
    """One call with a limit of 20 tokens, made in one of four ways."""
    model = framework(router, max_tokens=20)
    if framework is RoutooChatModel:
        calls = (model.invoke, model.stream, model.ainvoke, model.astream)
    else:
        calls = (model.complete, model.stream_complete, model.acomplete, model.astream_complete)
    call = calls[WAYS.index(way)]
    if way == "whole":
        call("Is 91 prime?")
    elif way == "streamed":
        list(call("Is 91 prime?"))
    else:
        asyncio.run(_ask_async(call, way == "async streamed"))


async def _ask_async(call, is_streamed):
    reply = call("Is 91 prime?")
    if not is_streamed:
        await reply
        return
    if not hasattr(reply, "__aiter__"):
        reply = await reply
    async for _ in reply:
        pass


def test_the_page_shows_settings_that_are_valid_and_every_field_there_is(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "experts.md").read_text(encoding="utf-8")
    experts, _ = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "experts.toml").write_text(experts)
    limits = {
        expert.name: expert.limits_replies_by
        for expert in Pool.from_toml(tmp_path / "experts.toml")
    }
    assert limits["gpt-4o at Azure"] == limits["local"] == "max_tokens"
    assert limits["gpt-5 in the EU"] == limits["gateway"] == "max_completion_tokens"
    for name in set(Endpoint.model_fields) - {"name"}:
        assert f"`{name}`" in page


# The name of the reply limit


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model": "gpt-4o"}, "max_completion_tokens"),
        ({"model": "gpt-4o", "provider": "openai"}, "max_completion_tokens"),
        ({"model": "gpt-5-mini", "base_url": "https://api.openai.com/v1"}, "max_completion_tokens"),
        ({"model": "gpt-5-mini", "base_url": "https://eu.api.openai.com/v1"}, "max_completion_tokens"),
        ({"model": "gpt-4o", "base_url": "https://us.api.openai.com/v1/"}, "max_completion_tokens"),
        ({"model": "gpt-5", "base_url": "https://x.openai.azure.com/openai/v1"}, "max_completion_tokens"),
        ({"model": "o3", "base_url": "https://x.services.ai.azure.com/v1"}, "max_completion_tokens"),
        ({"model": "gpt-4o", "base_url": "https://x.openai.azure.com/openai/v1"}, "max_tokens"),
        ({"model": "o4-mini", "provider": "azure_openai"}, "max_completion_tokens"),
        ({"model": "chat", "provider": "azure_openai", "deployment": "our-gpt-5"}, "max_completion_tokens"),
        ({"model": "gpt-4o-mini", "provider": "azure_openai"}, "max_tokens"),
        ({"model": "gpt-5", "base_url": "https://gateway.example/v1"}, "max_tokens"),
        ({"model": "gpt-5", "base_url": "https://api.openai.com.example/v1"}, "max_tokens"),
        (
            {"model": "gpt-5", "base_url": "https://gateway.example/v1", "reply_limit_parameter": "max_completion_tokens"},
            "max_completion_tokens",
        ),
        ({"model": "gpt-5", "reply_limit_parameter": "max_tokens"}, "max_tokens"),
    ],
)  # fmt: skip
def test_the_reply_limit_has_the_name_that_host_and_model_know(settings, name):
    assert Expert(name="a", **FREE, **settings).limits_replies_by == name


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [None, "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("provider", [None, "openai"])
def test_the_reply_limit_is_sent_under_its_name_alone(endpoint, framework, way, name, provider):
    expert = endpoint.expert("a", reply_limit_parameter=name, provider=provider)
    ask(framework, router_of(expert), way)
    (body,) = endpoint.requests
    sent = {key: body[key] for key in ("max_tokens", "max_completion_tokens") if key in body}
    assert sent == {name or "max_tokens": 20}


def test_another_name_of_the_reply_limit_is_refused():
    with pytest.raises(ConfigurationError, match="reply_limit_parameter: .*max_completion_tokens"):
        Expert(name="a", model="m", reply_limit_parameter="max_output_tokens", **FREE)


# Keys


@pytest.mark.parametrize("provider", [None, "openai"])
@pytest.mark.parametrize(
    "base_url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"]
)
def test_openai_reads_its_usual_key(monkeypatch, provider, base_url):
    expert = Expert(name="a", model="gpt-4o", provider=provider, base_url=base_url, **FREE)
    with pytest.raises(
        ConfigurationError, match="expert 'a': api_key_env: OPENAI_API_KEY is not set; export it"
    ):
        expert.check_key()
    monkeypatch.setenv("OPENAI_API_KEY", " sk-usual\n")
    expert.check_key()
    assert build_chat_model(expert).openai_api_key.get_secret_value() == "sk-usual"
    assert build_llm(expert).api_key == "sk-usual"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_usual_key_is_named_where_the_model_is_built(framework):
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
        framework(router_of(Expert(name="a", model="gpt-4o", **FREE)))


def test_openai_named_in_a_word_reads_its_usual_key():
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
        describe_model("openai:gpt-4o")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_another_host_gets_no_key_that_is_not_its_own(monkeypatch, endpoint, framework):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
    ask(framework, router_of(endpoint.expert("a")), "whole")
    assert "sk-usual" not in str(endpoint.headers)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_named_key_is_sent_to_any_host(monkeypatch, endpoint, framework):
    monkeypatch.setenv("OUR_KEY", "sk-ours\r\n")
    ask(framework, router_of(endpoint.expert("a", api_key_env="OUR_KEY")), "whole")
    assert endpoint.headers[0]["authorization"] == "Bearer sk-ours"


def ask_gateway(router):
    with GatewayServer(Gateway(router), port=0) as server:
        body = {"model": "routoo", "messages": [{"role": "user", "content": "Is 91 prime?"}]}
        reply = post(server, body)
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("framework", [*FRAMEWORKS, "gateway"])
def test_of_two_addresses_in_the_environment_the_first_counts_as_in_langchain(
    monkeypatch, endpoint, framework
):
    expert = Expert(name="a", model="our-model", **FREE)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
    with FakeEndpoint() as other:
        monkeypatch.setenv("OPENAI_API_BASE", endpoint.base_url)
        monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
        if framework == "gateway":
            ask_gateway(router_of(expert))
        else:
            ask(framework, router_of(expert), "whole")
    assert len(endpoint.requests) == 1
    assert not other.requests


# Azure


def azure(endpoint, **settings):
    host = endpoint.base_url.removesuffix("/v1")
    values = {
        "model": "gpt-4o",
        "provider": "azure_openai",
        "base_url": host,
        "deployment": "our-gpt",
        "api_version": "2024-10-21",
    }
    return endpoint.expert("a", **{**values, **settings})


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("way", WAYS)
def test_azure_is_called_by_deployment_and_version_with_its_key(
    monkeypatch, endpoint, framework, way
):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    ask(framework, router_of(azure(endpoint)), way)
    assert endpoint.paths == ["/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21"]
    assert endpoint.headers[0]["api-key"] == "azure-key"
    assert "authorization" not in endpoint.headers[0]
    assert endpoint.requests[0]["max_tokens"] == 20
    assert "max_completion_tokens" not in endpoint.requests[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("way", WAYS)
def test_a_reasoning_deployment_at_azure_is_told_max_completion_tokens(
    monkeypatch, endpoint, framework, way
):
    monkeypatch.setenv("OUR_AZURE_KEY", "azure-key")
    expert = azure(endpoint, model="gpt-5-mini", deployment=None, api_key_env="OUR_AZURE_KEY")
    ask(framework, router_of(expert), way)
    assert "/openai/deployments/gpt-5-mini/chat/completions" in endpoint.paths[0]
    assert endpoint.requests[0]["max_completion_tokens"] == 20
    assert "max_tokens" not in endpoint.requests[0]


@pytest.mark.parametrize("path", ["/", "/openai", "/openai/v1/", "/openai/deployments/our-gpt"])
def test_an_azure_address_may_go_on_to_openai(monkeypatch, endpoint, path):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    host = endpoint.base_url.removesuffix("/v1")
    ask(RoutooChatModel, router_of(azure(endpoint, base_url=host + path)), "whole")
    assert endpoint.paths == ["/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api_version": None}, "expert 'a': api_version: missing"),
        ({"base_url": None}, "expert 'a': base_url: missing"),
        ({}, "AZURE_OPENAI_API_KEY is not set"),
    ],
)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_azure_needs_is_asked_for(endpoint, framework, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        framework(router_of(azure(endpoint, **changes)))


def test_version_and_address_of_azure_may_come_from_the_environment(monkeypatch, endpoint):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint.base_url.removesuffix("/v1"))
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-01-01")
    ask(RoutooLLM, router_of(azure(endpoint, base_url=None, api_version=None)), "whole")
    assert endpoint.paths == ["/openai/deployments/our-gpt/chat/completions?api-version=2025-01-01"]


@pytest.mark.parametrize("name", ["deployment", "api_version"])
def test_a_deployment_elsewhere_is_refused(name):
    with pytest.raises(ConfigurationError, match=f'{name}: is for provider = "azure_openai"'):
        Expert(name="a", model="m", **{name: "x"}, **FREE)


def test_a_deployment_at_azure_can_be_scored(monkeypatch, endpoint):
    from routoo_core.asking.calls import Chat

    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    expert = azure(endpoint)
    client = make_clients([expert])["a"]
    asyncio.run(client.answer(Chat((("user", "Is 91 prime?"),), 0.0), 20))
    assert endpoint.paths == ["/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21"]
    assert endpoint.headers[0]["api-key"] == "azure-key"


# Providers


def write_files(folder, checkpoint, provider):
    (folder / "routoo.toml").write_text(f'router = "{checkpoint}"\npolicy = "best"\n')
    (folder / "experts.toml").write_text(
        f'[experts.talker]\nprovider = "{provider}"\ninput_usd_per_1m = 1\noutput_usd_per_1m = 1\n'
    )
    return folder / "routoo.toml"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("provider", "meant"), [("opneai", "openai"), ("azure_opena", "azure_openai")]
)
def test_a_misspelt_provider_names_file_expert_and_what_was_meant(
    tmp_path, checkpoint, framework, provider, meant
):
    path = write_files(tmp_path, checkpoint, provider)
    message = rf"experts.toml: expert 'talker': provider: '{provider}' is unknown; did you mean '{meant}'\?"
    with pytest.raises(ConfigurationError, match=message):
        framework.from_toml(path)


def test_a_provider_like_none_is_told_all_there_are(tmp_path, checkpoint):
    path = write_files(tmp_path, checkpoint, "zzz")
    with pytest.raises(
        ConfigurationError, match=r"'zzz' is unknown; choose one of .*anthropic.*openai"
    ):
        RoutooChatModel.from_toml(path)


def test_a_missing_provider_package_names_file_expert_and_the_installation(tmp_path, checkpoint):
    path = write_files(tmp_path, checkpoint, "cohere")
    message = r"'langchain_cohere' is needed to call .*experts.toml: expert 'talker': pip install langchain-cohere$"
    with pytest.raises(MissingDependency, match=message):
        RoutooChatModel.from_toml(path)
    with pytest.raises(MissingDependency, match="pip install langchain-cohere$"):
        describe_model("cohere:command")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_key_that_is_missing_names_its_file(tmp_path, checkpoint, framework):
    path = write_files(tmp_path, checkpoint, "openai")
    with pytest.raises(
        ConfigurationError, match=r"experts.toml: expert 'talker': api_key_env: OPENAI_API_KEY"
    ):
        framework.from_toml(path)
