"""AdamW with 8-bit moments: it learns like plain AdamW, and resumes from a checkpoint bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import Compose, finetune, losses, make_run

from sciriff.finetune import optimizer_8bit

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.slow
def test_it_learns_as_adamw_does_and_resumes_bit_for_bit(composed: Compose, tmp_path: Path) -> None:
    def run(name: str, **values: Any) -> Any:
        return make_run(composed, tmp_path / name, **{"max_steps": 8, "learning_rate": 1e-2, **values})

    plain = finetune(run("plain"))
    whole, stopped = finetune(run("whole", optimizer="adamw_8bit")), run("stopped", optimizer="adamw_8bit")
    assert losses(whole) == pytest.approx(losses(plain), abs=0.1)
    assert losses(whole)[-1] < losses(whole)[0] - 0.3
    stopped.stop_request.touch()
    for _ in range(3):
        finetune(stopped)
    state = torch.load(stopped.checkpoints / "step-3" / "state.pt", weights_only=True)
    sizes = {key: tensor.numel() for key, tensor in state["model"].items()}
    embeddings, largest = sizes["language_model.model.embed_tokens.weight"], sum(sizes.values())
    moments = (stopped.checkpoints / "step-3" / "state.pt").stat().st_size - 4 * largest
    assert moments < 8 * embeddings + 4 * (largest - embeddings)  # 2 bytes an element for the others, not 8
    stopped.stop_request.unlink()
    finetune(stopped)
    assert losses(stopped) == losses(whole)
    assert (stopped.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_the_memory_is_what_the_states_take() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(100, 64), torch.nn.Linear(64, 256), torch.nn.LayerNorm(256))
    optimizer = optimizer_8bit.adamw(model, [{"params": list(model.parameters())}], 1e-3, (0.9, 0.999), 1e-8)
    model(torch.arange(10)).pow(2).sum().backward()
    optimizer.step()
    sizes = [
        tensor.numel() * tensor.element_size()
        for state in optimizer.state.values()
        for key, tensor in state.items()
        if key.startswith(("state", "absmax"))  # not the codebook of the 8-bit numbers, which all share
    ]
    assert optimizer_8bit.memory(model) == sum(sizes)
