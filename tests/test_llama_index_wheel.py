"""The wheel carries ``llama_index.llms.routoo`` beside LlamaIndex's own packages, which it leaves alone."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPORT_PATH = "llama_index.llms.routoo"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_namespace_stays_llama_indexs(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("llama_index/")]
    assert names == ["llama_index/llms/routoo/__init__.py"]


@pytest.mark.slow
def test_the_llm_is_found_where_llama_indexs_users_look(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import routoo_core, llama_index.core, llama_index.llms.openai_like\n"
        f"from {IMPORT_PATH} import RoutooLLM, RoutooSelector\n"
        "print(routoo_core.__file__, RoutooLLM.__name__, RoutooLLM.class_name())"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    where, *names = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert names == ["RoutooLLM", "RoutooLLM"]


def test_llamahub_is_told_the_truth(wheel):
    hub = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["llamahub"]
    assert hub["import_path"] == IMPORT_PATH
    namespace = zipfile.ZipFile(wheel).read(f"{IMPORT_PATH.replace('.', '/')}/__init__.py").decode()
    assert all(name in namespace for name in hub["class_authors"])
