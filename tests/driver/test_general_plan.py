"""What the plan says of general tasks: prompts, tokens, hours and dollars, against manual calculations."""

import pytest

from sciriff.config import SAMPLE
from sciriff.driver.plan import lines, make
from sciriff.driver.plan.general import LETTER, general_workload, leaves_of, sizes

H100 = ("plan.gpu=h100", "plan.gpus=8", "name=x")
SERVED = ("train=none", "model=gpt_4o", "name=x")


def general_lines(config) -> list[str]:
    """The line of the general tasks and those that belong to it."""
    text = lines(config, make(config))
    [first] = [number for number, line in enumerate(text) if line.startswith("general")]
    rest = [number for number, line in enumerate(text) if number > first and not line.startswith(" ")]
    return text[first : min(rest, default=len(text))]


def test_the_table_has_the_published_sizes():
    tasks = ("mmlu", "gsm8k_cot", "bbh_cot_fewshot", "ifeval", "truthfulqa_mc2", "tydiqa_goldp")
    documents = {task: sum(leaf.documents for leaf in leaves_of(task)) for task in tasks}
    assert documents == dict(zip(tasks, (14_042, 1_319, 6_511, 541, 817, 5_077), strict=True))
    assert [len(leaves_of(task)) for task in tasks] == [57, 1, 27, 1, 1, 9]
    assert len({leaf.task for leaf in sizes()}) == len(sizes())
    assert len(leaves_of("mmlu_stem")) == 19
    assert {leaf.kind for leaf in leaves_of("mmlu")} == {LETTER}


def test_the_table_has_the_bundled_sample():
    for task in ("common_sense", "arithmetic", "instructions"):
        files = (SAMPLE / "general" / "sciriff" / "general_sample").rglob(f"*{task}*/test*.jsonl")
        rows = sum(len(file.read_text().splitlines()) for file in files)
        assert [leaf.documents for leaf in leaves_of(f"sample_{task}")] == [rows]


@pytest.mark.parametrize(
    ("overrides", "prompts"),
    [
        (["general=standard"], 14_042 + 1_319 + 6_511 + 541 + 817 + 5_077),
        (["general=quick"], 57 * 20 + 200 + 27 * 10 + 100),
        (["general=tulu2"], 14_042 + 200 + 27 * 40 + 9 * 100),
        (["general=quick", "general.limit=50"], 57 * 50 + 50 + 27 * 50 + 50),
        (["general=quick", "general.tasks=[mmlu_anatomy,mmlu_virology]"], 40),
        (["general=quick", "general.tasks=[mmlu]", "general.limit.mmlu=2", "+general.limit.mmlu_stem=1"], 19 + 2 * 38),
        (["general=quick", "general.tasks=[mmlu_anatomy]", "general.limit=null"], 135),
    ],
)
def test_prompts_of_limits_by_task_and_group(overrides: list[str], prompts: int, composed):
    work = general_workload(composed(*overrides, *H100))
    assert (work.prompts, work.unknown, work.by_letter) == (prompts, [], [])


def test_tokens_by_hand(composed):
    [anatomy] = leaves_of("mmlu_anatomy")
    config = composed("general=quick", "general.tasks=[mmlu_anatomy]", "general.shots={mmlu: 2}", *H100)
    work = general_workload(config)
    each = anatomy.prompt_tokens + 2 * anatomy.example_tokens + 4 * anatomy.answer_tokens
    assert (work.read_tokens, work.written_tokens) == (pytest.approx(20 * each), 0)
    served = general_workload(composed(*SERVED, "general=quick", "general.tasks=[mmlu_anatomy]"))
    assert served.written_tokens == 60
    assert served.by_letter == ["mmlu_anatomy"]
    short = general_workload(composed("general=quick", "general.tasks=[ifeval]", "general.max_new_tokens=50", *H100))
    assert short.written_tokens == 100 * 50
    truths = ["general=standard", "general.tasks=[truthfulqa_mc2]", *H100]
    by_vllm, by_transformers = (general_workload(composed(*truths, f"engine={e}")) for e in ("vllm", "transformers"))
    assert by_vllm.read_tokens > 5 * by_transformers.read_tokens, "vLLM reads the prompt again for each choice"


def test_the_line_of_a_machine_with_gpus(composed):
    [line] = general_lines(composed("model=llama2_7b", "general=standard", *H100))
    assert line.startswith("general   standard, 28,307 prompts, about 22.")
    assert line.endswith(" on all GPUs (a rough estimate)")
    one, eight = (
        make(composed("model=llama2_7b", "general=standard", "plan.gpu=h100", f"plan.gpus={gpus}", "name=x"))
        for gpus in (1, 8)
    )
    assert 0.1 < one.general_hours < 2
    assert one.general_hours == pytest.approx(8 * eight.general_hours)
    assert make(composed("model=llama2_7b", "general=none", *H100)).general is None
    none = lines(composed("model=llama2_7b", *H100), make(composed("model=llama2_7b", *H100)))
    assert not any(line.startswith("general") for line in none)


def test_dollars_count_both_kinds_of_prompts(composed):
    line, letters, both = general_lines(composed(*SERVED, "general=quick", "engine.max_usd=16"))
    cost = float(line.rpartition("$")[2])
    assert 2 < cost < 8
    assert letters.endswith("so it is asked for a letter: mmlu")
    # either is within the cap, both together are not
    total = float(both.split("$")[1].split()[0])
    assert total - cost < 16 < total
    assert both.endswith("with the answers above, $16 at most, so it would be refused: raise engine.max_usd")
    config = composed(*SERVED, "general=quick", "engine.max_usd=20")
    assert general_lines(config)[-1].endswith("with the answers above, $20 at most")
    assert sum("at most, so" in line for line in lines(config, make(config))) == 0
    assert general_lines(composed(*SERVED, "general=quick", "engine.batch=true"))[0].endswith(f"${cost / 2:.2f}")


def test_tasks_that_are_not_in_the_table(composed):
    some = general_lines(composed("general=quick", "general.tasks=[hellaswag,ifeval]", *H100))
    assert some[0].startswith("general   quick, 100 prompts")
    assert some[1] == "          no entry in general.limit, so all documents: hellaswag"
    assert some[2].endswith("not known here for hellaswag")
    line, whole = general_lines(composed("general=quick", "general.tasks=[hellaswag]", *H100))
    assert line == "general   quick, number of prompts not known here for hellaswag"
    assert whole.endswith("no entry in general.limit, so all documents: hellaswag")
    [line] = general_lines(composed("general.tasks=[mmlu_anatomy]", *H100))
    assert line.startswith("general   own, 135 prompts")


def test_the_untrained_model_is_asked_too(composed):
    for run, told in (("model=llama2_7b", True), ("train=none", False)):
        config = composed(run, "general=quick", "report.untrained=true", *H100)
        assert any(line.startswith("untrained answers the same") for line in lines(config, make(config))) == told


def test_a_run_without_prediction_asks_nothing(composed):
    assert make(composed("general=quick", "stages=[general,score]", *H100)).general is None


def test_tasks_without_a_protocol_are_ones_own(composed):
    [line, *_] = general_lines(composed("experiment=demo", "general.tasks=[mmlu_anatomy]", "name=x"))
    assert line.startswith("general   own, 135 prompts")
    assert composed("experiment=demo", "name=x").general.name == "none"
