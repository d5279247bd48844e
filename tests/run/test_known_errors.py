"""The installed packages still say what known_errors looks for. tests/config/test_compose_error.py has Hydra's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from largest_file import largest_file

from sciriff.run import known_errors
from sciriff.run.known_errors import KnownError


def read_a_split_that_is_not_there(folder: Path) -> None:
    from datasets import load_dataset

    (folder / "rows.jsonl").write_text('{"a": 1}\n')
    load_dataset("json", data_files=str(folder / "rows.jsonl"), split="test", cache_dir=str(folder / "cache"))


def load_with(attention: str) -> None:
    from transformers import AutoModelForCausalLM, BloomConfig

    config = BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=16)
    AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def compute_packed_rows_without_their_kernel() -> None:
    import torch

    family = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    family.causal_conv1d_fn(torch.zeros(1, 2, 3), torch.zeros(2, 2), seq_idx=torch.zeros(1, 3))


def load_code_that_nobody_trusted(folder: Path) -> None:
    from transformers import AutoConfig

    settings = {"model_type": "of_its_own", "auto_map": {"AutoConfig": "configuration.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "configuration.py").write_text("class OwnConfig:\n    pass\n")
    AutoConfig.from_pretrained(folder, trust_remote_code=False)


def save_more_than_fits(folder: Path) -> None:
    import torch

    with largest_file(10_000):
        torch.save({"weight": torch.zeros(1 << 16)}, folder / "weights.pt")


def stop_a_study_that_is_not_running(folder: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.create_study().stop()


@pytest.mark.parametrize(
    ("known", "provoke"),
    [
        (known_errors.UNKNOWN_SPLIT, read_a_split_that_is_not_there),
        (known_errors.NO_FLASH_ATTENTION, lambda _: load_with("flash_attention_2")),
        (known_errors.NO_SDPA, lambda _: load_with("sdpa")),
        (known_errors.NO_PACKED_KERNEL, lambda _: compute_packed_rows_without_their_kernel()),
        (known_errors.NO_SUCH_ARGUMENT, lambda _: (lambda tokens: tokens)(positions=1)),
        (known_errors.NEEDS_REMOTE_CODE, load_code_that_nobody_trusted),
        (known_errors.TORCH_WRITES, save_more_than_fits),
        (known_errors.STUDY_STOPPED, stop_a_study_that_is_not_running),
    ],
)
def test_the_text_is_in_the_error(known: KnownError, provoke: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(Exception) as raised:
        provoke(tmp_path)
    assert known.search(raised.value), f"{known.package}: {raised.value}"
    assert not known.search("something else")
