"""Write sciriff/driver/plan/general_sizes.tsv anew: python -m tools.general_sizes DATA, in the checkout.

DATA is a folder with datasets as on the hub (general.data). Needs lm-eval; the tokenizer comes out of litellm's wheel,
which is downloaded and never installed.
"""

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sciriff.config import SAMPLE
from tools.refresh_prices import VERSION, file_of_litellm

TSV = Path(__file__).parents[1] / "sciriff" / "driver" / "plan" / "general_sizes.tsv"
COLUMNS = "task groups kind documents shots prompt_tokens example_tokens choices answer_tokens".split()
TOKENIZER = "litellm/litellm_core_utils/tokenizers/anthropic_tokenizer.json"
COMMENT = """\
# Tasks of lm-eval {version}: documents, and mean tokens of a prompt without examples, of one example, and of an answer
# or choice, by a tokenizer of 65,000 tokens (Claude 2's, as in litellm {litellm}). Written by tools/general_sizes.py.
# `groups`: from the closest. `kind`: generate, letter (a server can be asked for the letter of a choice) or score.
# `shots`: lm-eval's own number. Answers are as long as those of the examples, or as the targets. Rough estimates are:
# answers to ifeval, gsm8k_cot and bbh_cot_zeroshot, and all tokens of TyDi QA (questions: Clark et al. 2020,
# arXiv 2003.05002, gold passage, validation).
"""
MEASURED = (
    *("mmlu", "gsm8k", "gsm8k_cot", "gsm8k_cot_zeroshot", "bbh_cot_fewshot", "bbh_cot_zeroshot", "ifeval"),
    *("truthfulqa_mc1", "truthfulqa_mc2"),
)
SAMPLE_TASKS = ("sample_common_sense", "sample_arithmetic", "sample_instructions")
FOLDERS = ("mmlu/default", "gsm8k", "bbh", "ifeval", "truthfulqa")
SIZE_ON_HUB = {"truthfulqa_mc1": 817, "truthfulqa_mc2": 817}
ANSWER_TOKENS = {"ifeval": 400, "gsm8k_cot": 100, "bbh_cot_zeroshot": 200}
"""Task or group -> tokens of a model's answer, where the targets do not say how long it is."""
SHOTS_MEASURED = 5
LOOKED_AT = 100
"""Documents of a leaf task whose tokens are counted, evenly spread."""
TYDIQA = (
    *(("ar", 921, 500), ("bn", 113, 900), ("en", 440, 200), ("fi", 782, 250), ("id", 565, 220), ("ko", 276, 450)),
    *(("ru", 812, 450), ("sw", 499, 200), ("te", 669, 900)),
)
"""Language, questions, tokens of a passage with its question."""


def rows(encode: Tokenizer) -> Iterator[tuple[Any, ...]]:
    """The table's rows: what is measured, then TyDi QA."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    home = Path(lm_eval.tasks.__file__).parent
    for data, folders, names in (
        (Path(sys.argv[1]), [home / folder for folder in FOLDERS], MEASURED),
        (SAMPLE / "general", [SAMPLE / "general" / "tasks"], SAMPLE_TASKS),
    ):
        os.chdir(data)
        manager = TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False)
        for name in names:
            loaded = manager.load([name])
            above = {child: group for group, children in loaded.get("group_map", {}).items() for child in children}
            for leaf, task in loaded["tasks"].items():
                groups = list(_chain(above, leaf))
                yield leaf, " ".join(groups), *_measured(task, [leaf, *groups], encode)
    for language, questions, tokens in TYDIQA:
        yield f"tydiqa_goldp_{language}", "tydiqa_goldp", "generate", questions, 0, tokens, tokens + 10, 0, 10


def _chain(above: dict[str, str], name: str) -> Iterator[str]:
    while name in above:
        name = above[name]
        yield name


def _measured(task: Any, names: list[str], encode: Tokenizer) -> tuple[Any, ...]:
    """Kind, documents, shots, and the four means."""
    task.set_fewshot_seed(1234)
    documents = list(task.eval_docs)
    seen = documents[:: max(1, len(documents) // LOOKED_AT)]
    config = task.config
    shots = config.num_fewshot or 0
    measured = 0 if names[0].startswith(("truthfulqa", "ifeval")) else shots or SHOTS_MEASURED

    def mean(texts: Iterable[str]) -> float:
        counts = [len(encode.encode(text, add_special_tokens=False).ids) for text in texts]
        return sum(counts) / len(counts)

    bare = mean(task.fewshot_context(doc, num_fewshot=0) for doc in seen)
    with_examples = mean(task.fewshot_context(doc, num_fewshot=measured) for doc in seen) if measured else bare
    choices, kind = 0.0, "generate"
    if config.output_type == "multiple_choice":
        options = [[str(choice) for choice in task.doc_to_choice(doc)] for doc in seen]
        choices = sum(map(len, options)) / len(options)
        kind = "letter" if all(len(choice.strip()) == 1 for option in options for choice in option) else "score"
        answer = mean(choice for option in options for choice in option)
    elif (known := next((ANSWER_TOKENS[name] for name in names if name in ANSWER_TOKENS), None)) is not None:
        answer = known
    else:
        samples = config.fewshot_config.samples if config.fewshot_config else None
        shown = samples if isinstance(samples, list) else seen
        answer = mean(str(task.doc_to_target(doc)) if samples is None else str(_target(doc)) for doc in shown)
    example = (with_examples - bare) / measured if measured else 0
    size = SIZE_ON_HUB.get(names[0], len(documents))
    numbers = (round(bare, 1), round(example, 1), round(choices, 1), round(answer, 1))
    return kind, size, shots, *(f"{number:g}" for number in numbers)


def _target(example: dict[str, Any]) -> str:
    return str(example.get("target") or example.get("answer"))


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    encode = Tokenizer.from_str(file_of_litellm(TOKENIZER).decode())
    from importlib.metadata import version

    with TSV.open("w", newline="") as file:
        file.write(COMMENT.format(version=version("lm-eval"), litellm=VERSION))
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(encode))


if __name__ == "__main__":
    main()
