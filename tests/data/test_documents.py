"""Documents are found in prompts of any template, whole, cut or in excerpts; questions and instructions are none."""

import random

import pytest

from sciriff.data.documents import document_digests

WORDS = [f"{start}{end}" for start in ("gel", "tor", "mis", "pan") for end in ("arin", "elo", "irin", "olo", "urin")]
ORDER = "You will be shown a claim and an abstract. Answer with a JSON object.\nDo not write anything else.\n\n"
OTHER_ORDER = "Read the abstract of a paper. Then say whether the claim holds.\nGive your answer as JSON.\n\n"


def sentences(seed: object, count: int) -> list[str]:
    chance = random.Random(f"sentences {seed}")
    return [" ".join(chance.choices(WORDS, k=9)).capitalize() + "." for _ in range(count)]


def groups(prompts: list[str]) -> list[list[int]]:
    """Places of the prompts of each document with several, by the digests."""
    found: dict[str, list[int]] = {}
    for place, digest in enumerate(document_digests(prompts)):
        assert digest is not None
        assert len(digest) == 16
        found.setdefault(digest, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def claims(template: str = "{order}Claim: {claim}\n\nAbstract:\n{text}\n", separator: str = "\n") -> list[str]:
    """40 claims; the first, second and last are about one abstract, and the third and the 20th about another."""
    papers = {1: 0, 39: 0, 19: 2}
    return [
        template.format(
            order=ORDER, claim=f"claim number {n} of this", text=separator.join(sentences(papers.get(n, n), 6))
        )
        for n in range(40)
    ]


@pytest.mark.parametrize("separator", ["\n", " "], ids=["a line a sentence", "one line"])
@pytest.mark.parametrize(
    "template",
    [
        "{order}Claim: {claim}\n\nAbstract:\n{text}\n",
        "<|user|>\n{text} Claim: {claim}\n\n{order}<|assistant|>\n",
        "<|start_header_id|>user<|end_header_id|>\n\n{order}{claim}\n\n{text}<|eot_id|>",
        "{text}\n\n{order}Question: {claim}\nOnce more, the question is: {claim}",
    ],
)
def test_the_same_document_is_found_in_any_template(template: str, separator: str):
    assert groups(claims(template, separator)) == [[0, 1, 39], [2, 19]]


def test_two_templates_of_one_task():
    prompts = claims()
    prompts[1::2] = [prompt.replace(ORDER, OTHER_ORDER) for prompt in prompts[1::2]]
    assert groups(prompts) == [[0, 1, 39], [2, 19]]


def test_a_document_that_was_cut_in_its_middle():
    prompts = claims(separator=" ")
    prompts[1] = prompts[1][:220] + "\n[...]\n" + prompts[1][-180:]
    assert groups(prompts) == [[0, 1, 39], [2, 19]]


def test_excerpts_of_one_paper():
    """Each prompt shows six of ten sections, as Qasper's do."""
    papers = [[sentences((paper, section), 3) for section in range(10)] for paper in range(20)]
    chance = random.Random(0)
    prompts = []
    for n in range(40):
        shown = sorted(chance.sample(range(10), 6))
        text = "\n".join(" ".join(papers[n % 20][section]) for section in shown)
        prompts.append(f"{ORDER}Paper:\n{text}\n\nQuestion: what is number {n}?")
    assert groups(prompts) == [[n, n + 20] for n in range(20)]


@pytest.mark.parametrize("between", ["\n\n", "<|assistant|>\n"])
def test_solved_examples_are_no_part_of_the_document(between: str):
    """Each prompt shows another one with its answer first, as eval.parity=reference does for evidence inference."""
    prompts, chance = claims(), random.Random(0)
    shown = [f"{chance.choice(prompts)}SUPPORT{between}{prompt}" for prompt in prompts]
    assert groups(shown) == groups(prompts) == [[0, 1, 39], [2, 19]]


def test_chains_of_alike_prompts_are_no_document():
    """Each has a half in common with the one before."""
    prompts = [ORDER + "\n".join([*sentences(n, 3), *sentences(n + 1, 3)]) for n in range(40)]
    assert document_digests(prompts) == [None] * 40


def test_questions_instructions_and_stock_phrases_are_no_documents():
    question = "What are the baselines that the authors compare their method with?"
    prompts = [
        f"{ORDER}There are {n % 7} findings in the abstract below, find these {n % 7}.\n\n{' '.join(sentences(n, 6))}"
        f"\n\nQuestion: {question if n % 13 == 0 else n}"
        for n in range(40)
    ]
    assert groups(prompts) == []


def test_nothing_is_known_of_a_prompt_that_is_missing_or_is_instruction_alone():
    prompts = claims()
    prompts[0], prompts[1], prompts[5], prompts[6] = "", "", ORDER, ORDER + "Claim: 3"
    found = document_digests(prompts)
    assert [found[n] for n in (0, 1, 5, 6)] == [None] * 4
    assert sum(digest is not None for digest in found) == 36
    assert found[2] == found[19] != found[3]
    assert document_digests([]) == []
    assert document_digests([""] * 50) == [None] * 50


def test_a_digest_is_of_the_text_and_not_of_the_question():
    """Two runs that asked other questions about the same documents agree on their digests."""
    pairs = [f"{ORDER}Claim: {n}\n\n{' '.join(sentences(n % 20, 6))}" for n in range(40)]
    asked = [prompt.replace("Claim: ", "Claim: what of ") for prompt in pairs]
    assert document_digests(pairs) == document_digests(asked)


def test_text_of_any_kind_is_read_in_linear_time():
    """A stranger's prompts: surrogates, no end of lines, and lines shared at random by all of them."""
    chance = random.Random(1)
    pool = [" ".join(sentences(n, 1)) for n in range(2000)]
    prompts = ["\udcff" * 30 + "\n".join(chance.sample(pool, 500)) for _ in range(120)] + ["a\x00b\n" * 200_000]
    assert len(document_digests(prompts)) == 121
