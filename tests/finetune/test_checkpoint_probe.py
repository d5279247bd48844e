"""What checkpoints need is tried after the first step, and changes nothing."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import finetune, losses, weights

from sciriff import config as configuration
from sciriff.finetune import checkpoint_probe, launch_files
from sciriff.finetune.backends import Plain
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]


class Forgetful(torch.optim.AdamW):
    """An optimizer that rounds its moments when it is read."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["exp_avg"] = state["exp_avg"].bfloat16().float()


def stepped(kind: type[torch.optim.Optimizer]) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Linear(3, 2))
    groups = [{"params": list(model[0].parameters()), "weight_decay": 0.1}, {"params": [model[1].weight]}]
    optimizer = kind(groups, lr=1e-2)
    model(torch.randn(5, 8)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def held(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    moments = [value for state in optimizer.state.values() for value in state.values()]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *moments)]


def test_the_probe_leaves_weights_and_moments_as_they_are() -> None:
    model, optimizer = stepped(torch.optim.AdamW)
    before = held(model, optimizer)
    checkpoint_probe.of_plain(dict(model.named_parameters()), optimizer)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(before, held(model, optimizer), strict=True))


def test_an_optimizer_that_reads_its_state_differently_is_refused_in_one_line() -> None:
    model, optimizer = stepped(Forgetful)
    with pytest.raises(
        ValueError, match=r"checkpoints cannot be made with this Forgetful of .*state.*differs"
    ) as error:
        checkpoint_probe.of_plain(dict(model.named_parameters()), optimizer)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_is_the_same_with_and_without_the_probe(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = finetune(make("probed", max_steps=3))
    monkeypatch.setattr(Plain, "probe", lambda backend: None)
    alone = finetune(make("alone", max_steps=3))
    assert losses(probed) == losses(alone)
    assert weights(probed) == weights(alone)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "precision"), [(2, "bf16"), (3, "bf16"), (3, "fp32")])
def test_deepspeed_is_probed_without_a_trace_and_what_it_moves_is_noticed(
    make: Make, stage: int, precision: str
) -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")
    run = make("run", zero_stage=stage, precision=precision, num_processes=2)
    command, environment = launch_files.write(configuration.load(run.config), run, gpus=0)
    command[command.index("--module") :] = [str(Path(__file__).with_name("probe_as_rank.py")), str(run.root)]
    output = subprocess.run(
        command, env={**os.environ, **environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert output.returncode == 0, output.stderr
    [line] = re.findall(r"RESULT (.*)", output.stdout)
    ranks = json.loads(line)
    assert len(ranks) == 2
    for same, _, said in ranks:
        assert same
        assert re.match(
            r"checkpoints cannot be made with DeepSpeed \S+ \(.*_proj\.weight .*\); install deepspeed==", said
        )
    assert ranks[0][2] == ranks[1][2]
