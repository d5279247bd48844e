"""linear, slerp and ties make the weights that mergekit makes, to the rounding of bf16. It is not installed with this
package: `pip install mergekit` beside transformers 5 runs this file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from merge_models import frozen_run, merge_config, random_weights, weights_of, write_model

from sciriff.config import MergeConfig
from sciriff.merge.__main__ import main

pytest.importorskip("mergekit", reason="mergekit is not installed")


def theirs(out: Path, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(settings), str(out), options)
    return weights_of(out)


@pytest.mark.parametrize("method", ["linear", "slerp", "ties"])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_weights_equal_those_of_mergekit(method: str, share: float, tmp_path: Path) -> None:
    """From float32, where hardly two differences are as large: of equal ones at the edge mergekit's sort keeps any."""
    start = random_weights(0, torch.float32)
    folders = {"base": write_model(tmp_path / "base", weights=start, dtype=torch.float32)}
    for place, name in enumerate(("a", "b"), 1):
        changes = random_weights(place, torch.float32)
        weights = {key: start[key] + changes[key] / 10 for key in start}
        folders[name] = write_model(tmp_path / name, weights=weights, dtype=torch.float32)
    models, shares = [str(folders["a"]), str(folders["b"])], [share, 1 - share]
    with_base = {"base": str(folders["base"]), "density": 0.3} if method == "ties" else {}
    config = merge_config(tmp_path / "m", MergeConfig(method=method, models=models, weights=shares, **with_base))
    run = frozen_run(config)
    main(config, run)
    settings: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": "bfloat16"}
    if method == "slerp":
        settings |= {"base_model": models[0], "models": [{"model": model} for model in models]}
        settings["parameters"] = {"t": 1 - share}
    else:
        extra = {"density": 0.3} if method == "ties" else {}
        settings |= {"base_model": str(folders["base"])} if method == "ties" else {}
        settings["models"] = [
            {"model": model, "parameters": {"weight": weight, **extra}}
            for model, weight in zip(models, shares, strict=True)
        ]
    wanted, found = theirs(tmp_path / "theirs", settings), weights_of(run.model)
    assert found.keys() == wanted.keys()
    steps = torch.cat([_steps(found[name], wanted[name]) for name in wanted])
    print(f"{method} {share}: {int((steps != 0).sum())} of {len(steps)} differ, by {int(steps.max())} step at most")
    assert int(steps.max()) <= 1 and float((steps != 0).double().mean()) < 1e-3


def _steps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How many bf16 numbers lie between two, for each weight."""
    signed = [tensor.view(torch.int16).int().flatten() for tensor in (one, other)]
    ordered = [torch.where(bits < 0, -32768 - bits, bits) for bits in signed]
    return (ordered[0] - ordered[1]).abs()
