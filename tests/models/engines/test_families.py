"""Prompts that begin alike are answered together where that saves something."""

from sciriff.config import EngineConfig
from sciriff.models.engines import transformers, vllm
from sciriff.models.engines.families import by_family, common_prefix, shared_tokens

EXAMPLES = [[1, *range(100, 300)], [1, *range(400, 600)]]


def prompts(each: int) -> list[list[int]]:
    """Questions of two subjects in turn, each behind its subject's examples, and three of their own."""
    asked = [[*EXAMPLES[number % 2], 7, *([8] * (number % 5)), number + 9] for number in range(2 * each)]
    return [*asked, [1, 5, 6], [1, 6, 6, 6], [2, 9]]


def whole(places: list[int]) -> list[list[int]]:
    return [places]


def test_the_tokens_that_all_begin_with() -> None:
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 4, 5]]) == 2
    assert common_prefix([[1], [2]]) == 0
    assert common_prefix([[5, 6, 7]]) == 3


def test_a_beginning_is_shared_if_that_saves_tokens_and_leaves_each_prompt_its_last() -> None:
    prompt = list(range(200))
    assert shared_tokens([prompt, prompt]) == 199
    assert shared_tokens([prompt, [*prompt[:150], 5, 6]]) == 150
    assert shared_tokens([prompt]) == 0
    assert shared_tokens([[1, 2, 3], [1, 2, 4]]) == 0


def test_families_have_batches_of_their_own_and_the_others_share_theirs() -> None:
    many = prompts(10)
    batches = by_family(many, [1] * len(many), whole)
    assert batches[0] == [20, 21, 22], "those without a family"
    assert [sorted(batch) for batch in batches[1:]] == [list(range(0, 20, 2)), list(range(1, 20, 2))]


def test_a_few_short_questions_with_long_answers_are_no_family() -> None:
    many = prompts(10)
    assert by_family(many, [400] * len(many), whole) == [list(range(23))]


def test_batches_of_families_hold_their_tokens_and_every_prompt_once() -> None:
    many = prompts(12)
    engine = EngineConfig(name="transformers", batch_tokens=1000)
    batches = transformers.plan_general_batches(many, [3] * len(many), engine)
    assert sorted(place for batch in batches for place in batch) == list(range(len(many)))
    for batch in batches:
        assert (max(len(many[place]) for place in batch) + 3) * len(batch) <= 1000
        assert len({place % 2 for place in batch}) == 1 or min(batch) >= 24
    assert transformers.plan_general_batches([], [], engine) == []


def test_vllm_gets_prompts_that_begin_alike_one_after_the_other() -> None:
    many = prompts(3)
    batches = vllm.plan_general_batches(many, [1] * len(many), EngineConfig(name="vllm"))
    assert [place % 2 for (place,) in batches if place < 6] == [0, 0, 0, 1, 1, 1]
