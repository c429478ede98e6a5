"""Wrong settings, tables, logs and checkpoints end in an error of ours that names the file and what to do."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from routoo_core import Pool
from routoo_core.config import read_config
from routoo_core.errors import CheckpointError, ConfigurationError, OutcomesError
from routoo_core.monitoring.logged_calls import read_logged_calls
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint import ROUTERS, load_parts
from routoo_core.predictor.checkpoint import read_config as read_checkpoint
from routoo_core.predictor.head_ensemble import load_head_ensemble

MANY_DIGITS = "9" * 5000
DEEP = "[" * 5000 + "]" * 5000
ROUTER = 'router = "general-fast"\n'
BUDGETS = {
    "a number of 5,000 digits": f"limit = {MANY_DIGITS}",
    "a text of 5,000 digits": f'limit = "{MANY_DIGITS}"',
    "more money than there is": 'limit = "1e30"',
    "an exponent that takes all memory": 'limit = "1e1000000000"',
    "other digits": 'limit = "٣"',
    "no number": 'limit = "nan"',
    "infinity": "limit = inf",
    "yes": "limit = true",
    "less than nothing": "limit = -1",
    "yes for seconds": "hold_ttl_s = true",
    "a folder of time zones": 'timezone = "Europe"',
    "a path out of the time zones": 'timezone = "../../etc/passwd"',
    "no time zone": 'timezone = ""',
    "a name without an end": f'account = "{"a" * 100_000}"',
    "calls of 5,000 digits": f"expected_calls = {MANY_DIGITS}",
    "accounts within accounts": "".join(
        f'[budget{".within" * level}]\naccount = "{level}"\n' for level in range(1, 400)
    ),
}
EXPERT = '[experts.a]\nmodel = "m"\ninput_usd_per_1m = 1\noutput_usd_per_1m = 1\n'
EXPERTS = {
    "a negative price": "cached_usd_per_1m = -1",
    "a price that is no number": "cached_usd_per_1m = nan",
    "an infinite price": "cached_usd_per_1m = inf",
    "a price beyond all money": 'cached_usd_per_1m = "1e300"',
    "a price that takes all memory": 'usd_per_call = "1e1000000"',
    "a price of 5,000 digits": f"cached_usd_per_1m = {MANY_DIGITS}",
    "yes for a price": "cached_usd_per_1m = true",
    "yes for a window": "context_window = true",
    "half a token": "context_window = 1.5",
    "a window of 5,000 digits": f"context_window = {MANY_DIGITS}",
    "no time": "timeout_s = nan",
    "endless time": "timeout_s = inf",
    "a date for seconds": "timeout_s = 2020-01-01",
    "a list for seconds": "timeout_s = [1]",
    "a capability that nobody has": 'capabilities = ["fly"]',
}


@pytest.mark.parametrize("kind", BUDGETS)
def test_a_wrong_budget_is_refused(kind, tmp_path):
    path = tmp_path / "routoo.toml"
    path.write_text(f"{ROUTER}[budget]\n{BUDGETS[kind]}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"routoo\.toml"):
        read_config(path).budget.budget(path)


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_wrong_expert_is_refused(kind, tmp_path):
    path = tmp_path / "experts.toml"
    path.write_text(EXPERT + EXPERTS[kind], encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"experts\.toml"):
        Pool.from_toml(path)


@pytest.mark.parametrize(
    "text",
    [
        f"router = {DEEP}".encode(),
        "router = 1".encode("utf-16"),
        b"\xff",
        b"router",
        b"a = 1\na = 2",
    ],
    ids=["deep", "UTF-16", "no UTF-8", "no TOML", "a key twice"],
)
def test_a_file_that_is_no_toml_is_refused(text, tmp_path):
    path = tmp_path / "routoo.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"routoo\.toml"):
        read_config(path)


@pytest.mark.parametrize("path", [".", "nowhere.toml", "a\0b"])
def test_a_path_without_a_file_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_config(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "routoo.toml"
    path.write_text("\ufeff" + ROUTER, encoding="utf-8")
    assert read_config(path).router == "general-fast"


HEADER = "prompt_id,model,score\n"
TABLES = {
    "a score that is no number": HEADER + "a,m,nan\n",
    "a score below 0": HEADER + "a,m,-1\n",
    "a score above 1": HEADER + "a,m,2\n",
    "a score in other digits": HEADER + "a,m,٠\n",
    "a score of 5,000 digits": HEADER + f"a,m,{MANY_DIGITS}\n",
    "no score": HEADER + "a,m,\n",
    "a pair twice": HEADER + "a,m,1\na,m,0\n",
    "a column twice": "prompt_id,model,score,score\na,m,1,0\n",
    "nothing": "",
    "a row that is too long": HEADER + "a,m,1,2\n",
    "an unknown prompt": HEADER + "b,m,1\n",
    "no model": HEADER + "a,,1\n",
    "another separator": "prompt_id;model;score\na;m;1\n",
    "a length below 0": "prompt_id,model,score,completion_tokens\na,m,1,-5\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_wrong_table_is_refused(kind, tmp_path):
    (tmp_path / "p.csv").write_text("prompt_id,prompt\na,hello\n", encoding="utf-8")
    (tmp_path / "o.csv").write_text(TABLES[kind], encoding="utf-8")
    with pytest.raises(OutcomesError, match=r"o\.csv"):
        read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv")


LOGS = {
    "a deep list": DEEP * 20,
    "a deep object": '{"a":' * 5000 + "1" + "}" * 5000,
    "a number of 5,000 digits": f'{{"a": {MANY_DIGITS}}}',
    "a list": "[1]",
    "a number": "3",
    "a zero byte": "\0",
}


@pytest.mark.parametrize("kind", LOGS)
def test_a_wrong_line_of_a_log_is_refused_by_its_number(kind, tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text("{}\n" + LOGS[kind] + "\n", encoding="utf-8")
    with pytest.raises(OutcomesError, match=r"calls\.jsonl: line 2"):
        list(read_logged_calls([path]))


DAMAGES = {
    "no number": lambda weight: np.full_like(weight, np.nan),
    "infinite": lambda weight: np.full_like(weight, np.inf),
    "transposed": lambda weight: np.ascontiguousarray(weight.T),
    "short": lambda weight: weight[:-1].copy(),
}


def weights_of_a_router():
    return load_file(ROUTERS / "zeroeval" / "head.safetensors")


def damaged_parts():
    """Names of weights and of a damage that changes them."""
    for name, weight in sorted(weights_of_a_router().items()):
        for damage in DAMAGES:
            if damage != "transposed" or weight.ndim == 2:
                yield name, damage


@pytest.mark.parametrize(("name", "damage"), damaged_parts())
def test_a_damaged_part_of_a_checkpoint_is_refused(name, damage, tmp_path):
    weights = weights_of_a_router()
    changed = DAMAGES[damage](weights[name])
    folder = tmp_path / "router"
    shutil.copytree(ROUTERS / "zeroeval", folder)
    save_file({**weights, name: changed}, folder / "head.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        load_parts(folder, read_checkpoint(folder), load_head_ensemble)
