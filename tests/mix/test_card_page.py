"""The card for people: what it says, and that no name out of the data breaks it."""

import numpy as np
from omegaconf import OmegaConf

from sciriff.config import MixConfig, MixSourceConfig, SourceConfig
from sciriff.mix.card import licenses, token_card, validation_card
from sciriff.mix.card_page import page, recipe_yaml
from sciriff.mix.card_table import lines
from sciriff.mix.tally import MixTally
from sciriff.mix.validation import Drawn

HUB = {
    "sciriff": MixSourceConfig(hub="allenai/SciRIFF", config="4096"),
    "tulu": MixSourceConfig(path="/data/tulu.jsonl"),
}


def card_of(dataset: str, *, wanted: int = 0, drawn: dict[str, Drawn] | None = None) -> dict:
    tally = MixTally(read={"sciriff": 12, "tulu": 2}, commits={"sciriff": "c0ffee"}, repeated={"tulu": 1}, shortened=4)
    tally.general_missing = 6
    for i in range(10):
        tally.drop("`output` is empty", f"train.jsonl:{i}", "sciriff")
    tally.drop("over mix.tulu", f"{dataset}/7", "tulu", dataset)
    tally.read_with_control_characters.add("train.jsonl:3")
    lengths, targets = np.array([10, 20, 40, 40]), np.array([1, 2, 3, 4])
    ids, datasets = ["a/1", "a/2", f"{dataset}/3", f"{dataset}/3"], ["science.a", "science.a", dataset, dataset]
    return {
        "digest": "d1",
        "recipe": {"sources": {"sciriff": {"digest": "d2", "revision": None}, "tulu": {"digest": "d3"}}},
        "licenses": {"sciriff": "ODC-BY", "tulu": "unknown"},
        "chat": "tulu",
        "markup_digest": "d4",
        **tally.card(),
        "held_out_rows": 0,
        **token_card(ids, datasets, lengths, targets),
        "validation": validation_card(drawn or {}, wanted, None),
        "overlap": {
            "summary": "1 of 4 rows hold text of 1 of the 9 evaluation prompts",
            "pairs": [{"row": f"{dataset}/3", "instance": "scifact_entailment:x:1", "shared_words": 180}],
        },
    }


def test_a_card_counts_rows_tokens_and_reasons() -> None:
    card = card_of("flan")
    assert card["by_dataset"]["flan"]["target_tokens"] == {"sum": 7, "mean": 3.5, "median": 3.5, "max": 4}
    assert card["by_dataset"]["science.a"]["prompt_tokens"] == {"sum": 27, "mean": 13.5, "median": 13.5, "max": 18}
    assert card["longest"] == [
        {"row": "flan/3", "tokens": 40},
        {"row": "a/2", "tokens": 20},
        {"row": "a/1", "tokens": 10},
    ]
    assert card["dropped"]["`output` is empty"] == {"rows": 10, "first": [f"train.jsonl:{i}" for i in range(5)]}
    assert card["dropped_by_source"] == {"sciriff": {"`output` is empty": 10}, "tulu": {"over mix.tulu": 1}}
    assert card["dropped_by_dataset"] == {"flan": {"over mix.tulu": 1}}


def test_a_page_shows_the_card() -> None:
    text = page(card_of("flan"), MixConfig(name="mine", sources=HUB))
    assert "| flan | 2 | 36 | 36 | 37 | 4 | 4 | 4 | 70.0% |" in text
    assert "| sciriff | c0ffee | ODC-BY | 12 | 2 |" in text and "| tulu |  | unknown | 2 | 2 |" in text
    assert "- sciriff: revision c0ffee (mix.sources.sciriff.revision=c0ffee keeps it)" in text
    assert r"| \`output\` is empty | 10 | train.jsonl:0, train.jsonl:1," in text
    assert "- 6 general rows fewer than mix.tulu asks for: the source has no more" in text.replace("\\", "")
    assert "What is unknown here the config can say: `mix.sources.NAME.license=...`." in text
    assert "1 rows were read with control characters" in text and "- repeated: 1 rows of tulu (epochs)" in text
    assert r"- shortened: 4 rows have lost their last turns to mix.context\_window" in text
    assert "- 1 of 4 rows hold text of 1 of the 9 evaluation prompts\n" in text
    assert r"- flan/3 and scifact\_entailment:x:1: 180 words" in text
    for digest in ("d1", "d2", "d3", "d4"):
        assert f"| {digest} |" in text


def test_names_out_of_the_data_stay_in_their_cell() -> None:
    hostile = "x|y\n## <b>`z`\n```"
    text = page(card_of(hostile), MixConfig(name="mine", sources=HUB))
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("##")] == [
        f"## {heading}" for heading in ("Rows and tokens", "Read and left out", "Longest rows", "Digests", "Recipe")
    ]
    assert r"| x\|y \#\# \<b\>\`z\` \`\`\` | over mix.tulu | 1 |" in lines
    assert lines.count("```") == 1 and lines.count("```yaml") == 1


def test_very_many_datasets_are_not_all_listed() -> None:
    """Whoever takes an id for the dataset has as many datasets as rows."""
    card = card_of("flan")
    names = [f"d{i}" for i in range(20_000)] + ["d7", "d7", "d19999"]
    card |= token_card(names, names, np.full(len(names), 2), np.ones(len(names), np.int64))
    card["dropped_by_dataset"] = {name: {"over mix.tulu": 1} for name in names}
    assert card["by_dataset"]["d7"]["rows"] == 3 and len(card["by_dataset"]) == 20_000
    for text in (page(card, MixConfig(name="mine", sources=HUB)), "\n".join(lines(card))):
        assert "the 100 largest of 20,000 datasets are listed" in text and text.count("\n") < 300
        assert " d7" in text and " d19999" in text and " d9999 " not in text


def test_the_recipe_is_what_differs_from_the_defaults() -> None:
    mix = MixConfig(name="mine", sources=HUB, per_task=None, tasks=["a: b"], seed=76)
    assert OmegaConf.to_container(OmegaConf.create(recipe_yaml(mix, {"sciriff": "c0ffee"}))) == {
        "name": "mine",
        "sources": {
            "sciriff": {"hub": "allenai/SciRIFF", "config": "4096", "revision": "c0ffee"},
            "tulu": {"path": "/data/tulu.jsonl"},
        },
        "per_task": None,
        "tasks": ["a: b"],
    }


def test_licences_are_known_of_the_hub_and_told_of_local_rows() -> None:
    copy = MixSourceConfig(path="/copy", hub="allenai/SciRIFF")
    told = MixSourceConfig(path="/copy", license="CC BY 4.0")
    other = SourceConfig(hub="someone/else")
    published = SourceConfig(hub="allenai/SciRIFF-train-mix")
    used = {"a": HUB["sciriff"], "b": copy, "c": told, "d": other, "e": published}
    assert licenses(used) == {"a": "ODC-BY", "b": "unknown", "c": "CC BY 4.0", "d": "unknown", "e": "ODC-BY"}


def test_a_page_says_how_few_validation_rows_there_are() -> None:
    drawn = {"science": Drawn(origin={}), "general": Drawn()}
    text = page(card_of("flan", wanted=5, drawn=drawn), MixConfig(name="mine", sources=HUB))
    assert "- validation: 0 science rows of the 5 asked for: no more are left" in text
    text = page(card_of("flan", wanted=5), MixConfig(name="mine", sources=HUB))
    assert "- validation: no rows, since a finished mix is taken whole and leaves none" in text
