"""linear, slerp, ties and dare over one tensor, against formulas written out over whole tensors."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sciriff.merge import methods, tensor_stream
from sciriff.merge.methods import METHODS, Part, Settings
from sciriff.merge.tensor_stream import TensorReader
from sciriff.models.safetensors_header import Stored, stored_tensors

NUMBERS = 1001


@pytest.fixture(params=[64, 1 << 22], ids=["chunks of 64", "one chunk"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Stored]:
    """Tensors base, a, b and c in a file; a few of their differences from the base are the same, as in bf16."""
    monkeypatch.setattr(tensor_stream, "CHUNK", request.param)
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(NUMBERS, generator=generator).to(torch.bfloat16)
    tensors = {"base": base, "zero": torch.zeros(NUMBERS)}
    for name in "abc":
        change = torch.randn(NUMBERS, generator=generator) / 8
        tensors[name] = (base.float() + (change * 16).round() / 16).to(torch.bfloat16)
    save_file(tensors, tmp_path / "model.safetensors")
    return stored_tensors(tmp_path)


def merged(
    stored: dict[str, Stored],
    method: str,
    shares: dict[str, float],
    name: str = "t",
    density: float = 1.0,
    seed: int = 0,
) -> torch.Tensor:
    parts = [Part(stored[model], share, place) for place, (model, share) in enumerate(shares.items()) if share]
    with TensorReader() as reader:
        found = list(METHODS[method](reader, name, parts, stored["base"], Settings(density, seed)))
    return torch.cat(found)


def whole(stored: dict[str, Stored], name: str) -> torch.Tensor:
    with TensorReader() as reader:
        return reader.floats(stored[name], 0, NUMBERS)


def test_linear_is_the_mean_and_a_share_of_1_the_model_itself(stored: dict[str, Stored]) -> None:
    a, b, c = (whole(stored, name) for name in "abc")
    wanted = 0.5 * a + 0.2 * b + 0.3 * c
    assert torch.allclose(merged(stored, "linear", {"a": 0.5, "b": 0.2, "c": 0.3}), wanted, atol=1e-6)
    for method in ("linear", "slerp"):
        assert torch.equal(merged(stored, method, {"a": 0.0, "b": 1.0}), b)
        assert torch.equal(merged(stored, method, {"a": 1.0, "b": 0.0}), a)


def test_slerp_keeps_the_angle_and_is_linear_where_there_is_none(stored: dict[str, Stored]) -> None:
    a, zero = whole(stored, "a").double(), whole(stored, "zero")
    turned = torch.roll(whole(stored, "b"), 500).double()
    cosine = float(a @ turned / (a.norm() * turned.norm()))
    angle = math.acos(cosine)
    wanted = (math.sin(0.25 * angle) * a + math.sin(0.75 * angle) * turned) / math.sin(angle)
    tensors = {"a": whole(stored, "a"), "b": turned.float(), "base": zero}
    save_file(tensors, stored["a"].file)
    again = stored_tensors(stored["a"].file.parent)
    found = merged(again, "slerp", {"a": 0.25, "b": 0.75})
    assert abs(cosine) < 0.5 and torch.allclose(found.double(), wanted, atol=1e-6)
    between = (found.double() @ a) / (found.double().norm() * a.norm())
    assert math.acos(float(between)) == pytest.approx(angle * _share_of_angle(a, turned), rel=1e-4)
    save_file({"a": tensors["a"], "b": zero, "base": zero.clone()}, stored["a"].file)
    flat = stored_tensors(stored["a"].file.parent)
    assert torch.allclose(merged(flat, "slerp", {"a": 0.25, "b": 0.75}), 0.25 * tensors["a"], atol=1e-7)


def _share_of_angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """The share of the angle that the point at 0.75 has come, of tensors whose lengths differ a little."""
    angle = math.acos(float(a @ b / (a.norm() * b.norm())))
    x = math.sin(0.25 * angle) * float(a.norm()) + math.sin(0.75 * angle) * float(b.norm()) * math.cos(angle)
    y = math.sin(0.75 * angle) * float(b.norm()) * math.sin(angle)
    return math.atan2(y, x) / angle


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 1.0])
def test_ties_trims_elects_and_merges(stored: dict[str, Stored], density: float) -> None:
    shares = {"a": 0.5, "b": 0.125, "c": 0.375}
    base = whole(stored, "base")
    trimmed = []
    for name in shares:
        differences = whole(stored, name) - base
        order = differences.abs().argsort(descending=True, stable=True)
        kept = torch.zeros(NUMBERS, dtype=torch.bool)
        kept[order[: max(1, int(density * NUMBERS))]] = True
        trimmed.append(differences * kept)
    weights = torch.tensor(list(shares.values()))[:, None]
    stack = torch.stack(trimmed)
    sign = torch.where((stack * weights).sum(0) >= 0, 1.0, -1.0)
    agrees = (stack.sign() == sign).float()
    below = (weights * agrees).sum(0)
    wanted = base + (stack * weights * agrees).sum(0) / torch.where(below == 0, 1.0, below)
    found = merged(stored, "ties", shares, density=density)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert int((found != base).sum()) >= max(1, int(density * NUMBERS)) * 0.5


def test_dare_has_its_own_seed_and_repeats_itself(stored: dict[str, Stored]) -> None:
    shares, base = {"a": 0.5, "b": 0.5}, whole(stored, "base")
    first = merged(stored, "dare", shares, density=0.5, seed=3)
    torch.manual_seed(1)  # nothing of torch's random numbers plays a part
    assert torch.equal(merged(stored, "dare", shares, density=0.5, seed=3), first)
    assert not torch.equal(merged(stored, "dare", shares, density=0.5, seed=4), first)
    assert not torch.equal(merged(stored, "dare", shares, name="other", density=0.5, seed=3), first)
    everything = merged(stored, "dare", shares, density=1.0)
    assert torch.allclose(everything, merged(stored, "linear", shares), atol=1e-6)
    alone = merged(stored, "dare", {"a": 1.0}, density=0.25) - base
    differences = whole(stored, "a") - base
    kept = alone != 0
    assert torch.allclose(alone[kept], 4 * differences[kept], atol=1e-5)
    assert int(kept.sum()) == pytest.approx(0.25 * int((differences != 0).sum()), rel=0.2)


def test_what_dare_draws_is_the_same_everywhere(stored: dict[str, Stored]) -> None:
    """The first numbers of a fixed seed, so that another machine or version that draws others is noticed; the sum is
    the same whatever the chunks are."""
    draws = methods._draws(0, 1, "model.norm.weight").random_raw(4)
    assert [int(number) >> 32 for number in draws] == DRAWN
    found = merged(stored, "dare", {"a": 0.5, "b": 0.5}, density=0.5)
    assert float(found.double().sum()) == pytest.approx(SUM, abs=1e-6)


DRAWN = [361318386, 2585173006, 2482738640, 3208809287]
SUM = 26.811126708984375
