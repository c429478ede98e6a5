"""docs/gateway.md is true: its blocks run in turn against a running gateway, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from gateway_parts import make_router
from typer.testing import CliRunner

from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import DEFAULT_PORT, GatewayServer

PAGE = (Path(__file__).parent.parent / "docs" / "gateway.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the frameworks' own
def test_every_block_of_the_page_runs(endpoint, capsys):
    endpoint.replies.update({name: Reply("No, it is 7 times 13.") for name in ("cheap", "dear")})
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as server:
        code = code.replace(f"http://127.0.0.1:{DEFAULT_PORT}", server.address)
        exec(compile(code, "page", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("No, it is 7 times 13.") == 6
    assert "dear 0.000280000 dear: predicted quality 0.90" in printed


def test_every_command_of_the_page_has_the_options_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\n[budgets.team]\nlimit = "9"\n', encoding="utf-8"
    )
    (tmp_path / "experts.toml").write_text(
        '[experts."gpt-4o"]\n[experts.cheap]\nmodel = "gpt-4o"\n'
    )
    lines = re.findall(r"^routoo key .*$", PAGE, re.M)
    assert len(lines) == 5
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
