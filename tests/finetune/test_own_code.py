"""A folder that brings its own Python code, with experts that are layers of their own, once a person has trusted it."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finetune_runs import finetune, losses, make_run, tiny_model

from sciriff.config import SAMPLE, Config, DeepspeedConfig
from sciriff.finetune.loop import refuse_uneven
from sciriff.finetune.text_model import Rehearsal
from sciriff.run.user_error import UserError

CODE = '''
    """A Llama whose MLP is a choice between two."""
    import torch
    from torch import nn
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaMLP

    class ChoiceConfig(LlamaConfig):
        model_type = "choice"

    class Choice(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.gate = nn.Linear(config.hidden_size, 2, bias=False)
            self.experts = nn.ModuleList(LlamaMLP(config) for _ in range(2))

        def forward(self, hidden):
            scores = self.gate(hidden).softmax(-1)
            best, chosen = scores.max(-1, keepdim=True)
            result = torch.zeros_like(hidden)
            for number, expert in enumerate(self.experts):
                if (chosen == number).any():
                    result = result + torch.where(chosen == number, best * expert(hidden), 0)
            return result

    class ChoiceForCausalLM(LlamaForCausalLM):
        config_class = ChoiceConfig

        def __init__(self, config):
            super().__init__(config)
            for layer in self.model.layers:
                layer.mlp = Choice(config)
            self.post_init()
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of that model, with its code beside it."""
    from transformers import AutoTokenizer

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = tmp_path / "choice"
    path.mkdir()
    (path / "modeling_choice.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(str(path))
    import modeling_choice as code

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = code.ChoiceConfig(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=128, **sizes)
    torch.manual_seed(0)
    code.ChoiceForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    written = json.loads((path / "config.json").read_text())
    names = {"AutoConfig": "modeling_choice.ChoiceConfig", "AutoModelForCausalLM": "modeling_choice.ChoiceForCausalLM"}
    (path / "config.json").write_text(json.dumps({**written, "auto_map": names}))
    return path


def test_it_is_trained_and_read_back(composed: Callable[..., Config], folder: Path, tmp_path: Path):
    model = tiny_model(path=str(folder), tokenizer=None, trust_remote_code=True)
    run = finetune(make_run(composed, tmp_path / "run", model=model, max_steps=2))
    assert len(losses(run)) == 2
    assert (run.model / "modeling_choice.py").is_file()


@pytest.mark.parametrize(
    ("zero_stage", "method", "refused"), [(0, "full", 0), (2, "full", 1), (3, "full", 0), (3, "lora", 1)]
)
def test_ranks_that_would_wait_for_each_other_are_refused(
    composed: Callable[..., Config], zero_stage: int, method: str, refused: bool
):
    config = composed("model=tiny", "mix=sample", f"train={method}")
    config = replace(config, deepspeed=DeepspeedConfig(zero_stage=zero_stage))
    refuse_uneven(config, Rehearsal([], []))
    by_chance = Rehearsal([], ["model.layers.0.mlp.experts.1.up_proj.weight"])
    if not refused:
        refuse_uneven(config, by_chance)
        return
    with pytest.raises(UserError, match=r"experts\.1\.up_proj.*deepspeed=none"):
        refuse_uneven(config, by_chance)
