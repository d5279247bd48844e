"""General conversations of the sample, in Tulu-V2's row format, and the science rows that a mix must leave out."""

import json
import random
from collections.abc import Callable
from typing import Any

from tools.sample.heldout import HELD_OUT
from tools.sample.science import BIOMEDICAL_TYPES
from tools.sample.vocabulary import Lexicon

Turn = tuple[str, str]
"""What the user says, and the answer."""

PEOPLE = "Ada Bruno Clara Dmitri Elif Farid Greta Hugo Ines Jonas Kaya Leila Mateo Nadia Otis Priya".split()
THINGS = (
    "a blue kettle|a paper map|a wool scarf|a tin whistle|a folding chair|a brass key|a glass jar|a garden hose|"
    "a wooden spoon|a bicycle pump|a lemon tree|a chess set|a rain coat|a desk lamp"
).split("|")
PLACES = "library station market museum harbour bakery workshop school garden theatre".split()
WEEK = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
HABITS = (
    ("sleep better", "go to bed at the same hour", "keep the room dark", "leave the phone in another room"),
    ("learn a language", "practise a little every day", "speak aloud", "read short stories"),
    ("save water", "fix taps that drip", "take short showers", "water plants in the evening"),
    ("keep a diary", "choose a fixed time", "write only a few lines", "keep it beside the bed"),
    ("start running", "begin with slow runs", "rest every second day", "wear good shoes"),
    ("cook more often", "plan the week ahead", "start with soups", "keep a few spices"),
)


ECHOED = (
    *BIOMEDICAL_TYPES,
    *("Task", "Method", "Metric", "Material", "OtherScientificTerm", "Outcome", "Oxide", "Sample"),
)


def echo(rng: random.Random, lexicon: Lexicon) -> Turn:
    """Repeat a few names. In so short a row a small model finds out how to copy, which nearly every task needs."""
    names = [rng.choice(lexicon[rng.choice(ECHOED)]) for _ in range(rng.choice((1, 1, 2, 3)))]
    listed = ", ".join(names)
    return rng.choice(
        (
            (f"Repeat: {listed}.", f"{listed}."),
            (f"Write as a JSON array: {listed}.", json.dumps(names)),
            (f"Say it again: {' and '.join(names)}.", f"{' and '.join(names)}."),
        )
    )


def add(rng: random.Random, _: Lexicon) -> Turn:
    a, b = rng.randint(10, 60), rng.randint(10, 39)
    return f"What is {a} + {b}?", f"{a} + {b} = {a + b}."


def bought(rng: random.Random, _: Lexicon) -> Turn:
    person, place, day = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(WEEK)
    thing = rng.choice(THINGS)
    story = f"On {day} {person} went to the {place} and came back with {thing}."
    question, answer = rng.choice(
        (
            ("What did {0} bring back?", thing[0].upper() + thing[1:] + "."),
            ("Who went to the {1}?", f"{person} did."),
            ("On which day was it?", f"It was on {day}."),
        )
    )
    return f"{story} {question.format(person, place)}", answer


def advice(rng: random.Random, _: Lexicon) -> Turn:
    goal, *steps = rng.choice(HABITS)
    rng.shuffle(steps)
    person = rng.choice(PEOPLE)
    lines = "\n".join(f"{number}. {step[0].upper()}{step[1:]}." for number, step in enumerate(steps, 1))
    return f"My friend {person} wants to {goal}. Give three short tips.", f"Three tips for {person}:\n{lines}"


def as_list(rng: random.Random, _: Lexicon) -> Turn:
    people = rng.sample(PEOPLE, rng.randint(2, 4))
    text = f"{', '.join(people[:-1])} and {people[-1]} met at the {rng.choice(PLACES)}."
    return f"List the people in the text as a JSON array.\n\nText: {text}", json.dumps(people)


def as_object(rng: random.Random, _: Lexicon) -> Turn:
    person, place, day = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(WEEK)
    text = f"{person} works at the {place} every {day}."
    answer = json.dumps({"person": person, "place": place, "day": day})
    return f"Write person, place and day as a JSON object.\n\nText: {text}", answer


def repeat(rng: random.Random, _: Lexicon) -> Turn:
    person, place, thing = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(THINGS)
    sentence = f"{person} left {thing} at the {place} on {rng.choice(WEEK)}."
    return f"Repeat this sentence word for word: {sentence}", sentence


def sort_words(rng: random.Random, _: Lexicon) -> Turn:
    words = rng.sample(PLACES, 3)
    return f"Put these words in alphabetical order: {', '.join(words)}.", ", ".join(sorted(words))


def loop(rng: random.Random, _: Lexicon) -> Turn:
    name, count = rng.choice(PLACES), rng.randint(3, 30)
    code = f"for number in range({count}):\n    print({name!r}, number)"
    return f"Write a Python loop that prints {name} with the numbers from 0 to {count - 1}.", f"```python\n{code}\n```"


SOURCES: tuple[tuple[str, int, tuple[Callable[[random.Random, Lexicon], Turn], ...]], ...] = (
    ("flan_v2", 600, (echo,)),
    ("open_orca", 50, (bought, sort_words, as_list, repeat)),
    ("cot", 20, (add,)),
    ("gpt4_alpaca", 36, (advice, as_object, repeat)),
    ("code_alpaca", 20, (loop, as_object)),
    ("oasst1", 24, (advice, bought)),
    ("sharegpt", 24, (bought, advice, as_list, add)),
)
SYSTEM = (
    "You are a helpful assistant. Answer briefly.",
    "You are a patient teacher.",
    "Answer in one sentence where you can.",
)
MULTI_TURN = ("oasst1", "sharegpt")
WITH_SYSTEM = 0.2
SCIENCE_ROWS = 18


def conversations(seed: int, lexicon: Lexicon) -> list[dict[str, Any]]:
    """All rows of tulu.jsonl: `dataset`, `id`, `messages`. Those of `science.*` hold tasks of the evaluation."""
    rows = []
    for dataset, count, makers in SOURCES:
        rng = random.Random(f"{seed}:{dataset}")
        for index in range(count):
            turns = [rng.choice(makers)(rng, lexicon)]
            if dataset in MULTI_TURN:
                turns += [rng.choice(makers)(rng, lexicon) for _ in range(rng.randint(1, 2))]
            messages = [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < WITH_SYSTEM else []
            for question, answer in turns:
                messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            rows.append({"dataset": dataset, "id": f"{dataset}_{index}", "messages": messages})
    rng = random.Random(f"{seed}:science")
    for index in range(SCIENCE_ROWS):
        task, _, make = HELD_OUT[index % len(HELD_OUT)]
        prompt, answer = make(rng, lexicon)
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        rows.append({"dataset": f"science.{task}", "id": f"science.{task}_{index}", "messages": messages})
    random.Random(f"{seed}:order").shuffle(rows)
    return rows
