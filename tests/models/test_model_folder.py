"""The small files of a finished model."""

from pathlib import Path

import pytest
import transformers
from finetune_runs import tiny_model
from largest_file import largest_file

from sciriff.models.model_folder import write_small_files


def test_a_full_disk_is_no_bare_exception_of_the_tokenizer(tmp_path: Path) -> None:
    config = transformers.LlamaConfig()
    with (
        largest_file(5000),
        pytest.raises(OSError, match=rf"{tmp_path}: the tokenizer could not be written .*disk full"),
    ):
        write_small_files(tiny_model(), config, {}, tmp_path)
    assert (tmp_path / "generation_config.json").is_file()
