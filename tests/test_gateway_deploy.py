"""The files to run the gateway by: what they start exists, listens with keys alone, and keeps the money on disk."""

import configparser
import json
import re
import shlex
from pathlib import Path

import yaml
from typer.testing import CliRunner

from routoo_integrations.cli import app

DEPLOY = Path(__file__).parent.parent / "examples" / "gateway" / "deploy"


def check_arguments(words):
    """Every option of a command line is one that the command has."""
    assert words[0].endswith("routoo")
    shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown


def test_the_container_serves_as_a_user_without_rights_and_is_asked_whether_it_is_ready():
    text = (DEPLOY / "Dockerfile").read_text()
    check_arguments(json.loads(re.findall(r"^CMD (.*)$", text, re.M)[-1]))
    assert re.search(r"^USER 1000$", text, re.M)
    assert "/health/ready" in text
    extras = re.findall(r"/src\[(.*?)\]", text)
    assert extras == ["gateway,redis"]


def test_compose_shows_the_port_to_this_machine_alone_and_redis_writes_before_it_answers():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services["gateway"]["ports"] == ["127.0.0.1:8484:8484"]
    assert services["gateway"]["depends_on"]["redis"]["condition"] == "service_healthy"
    command = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync always" in command
    build = services["gateway"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_the_unit_starts_the_gateway_with_keys_from_a_file_of_its_own():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "routoo-gateway.service").read_text())
    service = unit["Service"]
    check_arguments(shlex.split(service["ExecStart"]))
    assert service["EnvironmentFile"] == "/etc/routoo/environment"
    assert service["NoNewPrivileges"] == "yes"
