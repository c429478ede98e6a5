"""The house: imports point backward along the path, and the core is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATH = [  # design order; a module may import only from lines above it (or its own line)
    "routoo_core.errors",
    "routoo_core.files",
    "routoo_core.settings",
    "routoo_core.tokens",
    "routoo_core.request",
    "routoo_core.experts",
    "routoo_core.latency",
    "routoo_core.embedded",
    "routoo_core.outcomes",
    "routoo_core.predictor",
    "routoo_core.selector",
    "routoo_core.assignment",
    "routoo_core.universe",
    "routoo_core.budget",
    "routoo_core.attempt",
    "routoo_core.router",
    "routoo_core.config",
    "routoo_core.testing",
    "routoo_core.local_endpoint",
    "routoo_core.evaluation",
    "routoo_core.scoring",
    "routoo_core.data",
    "routoo_integrations.building",
    "routoo_integrations.langchain.messages",
    "routoo_integrations.langchain.clients",
    "routoo_integrations.langchain.structured",
    "routoo_integrations.langchain.configured",
    "routoo_integrations.langchain.chat_model",
    "routoo_integrations.langchain.middleware",
    "routoo_integrations.langchain",
    "routoo_integrations.llama_index.messages",
    "routoo_integrations.llama_index.clients",
    "routoo_integrations.llama_index.events",
    "routoo_integrations.llama_index.structured",
    "routoo_integrations.llama_index.llm",
    "routoo_integrations.llama_index.selector",
    "routoo_integrations.llama_index",
    "routoo_integrations.demo",
    "routoo_core.cli.shared",
    "routoo_core.cli",
    "routoo_core.__main__",
]
FOLDERS = {  # the same order, within a folder
    "routoo_core.predictor": """
        base batching adapter encoder length head calibration knn suggestion training fine_tuning new_expert scorer
        performance checkpoint
    """,
    "routoo_core.evaluation": """
        progress prices subjects curve simple_routers metrics tables feedback_log feedback_run figures drawings report
        prediction_run assignment_run target_run universe_run training_run expert_run stress_run evaluation_run
        replay_run
    """,
}
FILES = [path for package in ("routoo_core", "routoo_integrations") for path in sorted((ROOT / package).rglob("*.py"))]


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file) for file in FILES}


def line(name):
    places = [i for i, room in enumerate(PATH) if name == room or name.startswith(room + ".")]
    assert places or name in {"routoo_core", "routoo_integrations"}, f"{name} has no place on the path"
    return places[0] if places else -1


def imports(path):
    tree = ast.parse(path.read_text())
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_type_checking(node)]
    for_types = {inner for guard in guards for inner in ast.walk(guard)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("routoo_"):
            if node in for_types:
                continue
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def _is_type_checking(node):
    return getattr(node.test, "id", "") == "TYPE_CHECKING"


LAZY = {("routoo_core.router", "routoo_core.config")}  # Router.from_toml, the one convenience that looks ahead


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_point_backward_along_the_path(path):
    me = module(path)
    for other in imports(path):
        if (me, other) not in LAZY:
            assert line(other) <= line(me), f"{me} imports {other}, which comes later"


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, names in FOLDERS.items() for name in names.split()]
)
def test_files_of_a_folder_have_an_order_too(folder, name):
    order = FOLDERS[folder].split()
    place = ROOT / folder.replace(".", "/")
    assert sorted(order) == sorted(path.stem for path in place.glob("*.py") if path.stem != "__init__")
    for other in imports(place / f"{name}.py"):
        if other.startswith(f"{folder}."):
            assert order.index(other.rsplit(".")[-1]) < order.index(name)


def test_importing_the_core_loads_neither_torch_nor_a_framework():
    heavy = "{'torch', 'transformers', 'langchain_core', 'llama_index', 'openai', 'peft', 'pyarrow', 'matplotlib'}"
    code = (
        "import sys, routoo_core; from routoo_core import Budget, Expert, Pool, RoutedRequest, Router, Usage\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_starts_without_torch():
    code = "import sys, routoo_core.cli\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_nothing_pickles():
    for path in FILES:
        assert "pickle" not in [alias.name for node in ast.walk(ast.parse(path.read_text()))
                                if isinstance(node, ast.Import) for alias in node.names]  # fmt: skip
        assert "torch.load" not in path.read_text()
