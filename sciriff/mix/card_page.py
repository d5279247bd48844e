"""Write the card of a mix as Markdown, `mix/card.md`, with the recipe that builds it again."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sciriff.config import MixConfig, MixSourceConfig, as_dict
from sciriff.config.plain_yaml import written
from sciriff.data.mix_card import OWN_HELD_OUT, MixCard
from sciriff.mix.card_table import DATASETS, groups, remarks, source_rows
from sciriff.results.markdown_table import escaped, markdown_table


def page(card: MixCard, mix: MixConfig) -> str:
    """Markdown of a card and of the config of the mix. Names from the data are escaped: anyone may have chosen them."""
    sections = [
        f"# Mix {escaped(mix.name)}",
        "\n".join(f"- {escaped(line)}" for line in remarks(card)),
        "## Rows and tokens",
        f"By the model's tokenizer, markup (`{card['chat']}`) included.",
        _token_table(card),
        "## Read and left out",
        markdown_table(
            ("source", "revision", "licence", "rows read", "kept"),
            [
                (name, card["commits"].get(name, ""), card["licenses"][name], rows, _kept(card, name, rows))
                for name, rows in card["read"].items()
            ],
        ),
    ]
    if asked := source_rows(card):
        sections.append(markdown_table(("source", "kind", "asked for", "rows", "tokens", "share of tokens"), asked))
    if "unknown" in card["licenses"].values():
        sections.append("What is unknown here the config can say: `mix.sources.NAME.license=...`.")
    if card["dropped"]:
        firsts = [(why, part["rows"], ", ".join(part["first"])) for why, part in card["dropped"].items()]
        sections.append(markdown_table(("left out because", "rows", "the first"), firsts))
    if of_dataset := card["dropped_by_dataset"]:
        rows = [(name, why, count) for name, reasons in of_dataset.items() for why, count in reasons.items()]
        if len(of_dataset) > DATASETS:
            rows = sorted(rows, key=lambda row: (-row[2], row[:2]))[:DATASETS]
        sections.append(markdown_table(("dataset", "left out because", "rows"), rows))
    if (odd := card["read_with_control_characters"])["rows"]:
        sections.append(
            f"{odd['rows']:,} rows were read with control characters (papers that were read out of PDF files have "
            f"them), such as {escaped(', '.join(odd['first']))}."
        )
    digests = [
        ("train.jsonl", card["digest"]),
        ("validation.jsonl", card["validation"]["digest"]),
        *((f"the source {name}", source["digest"]) for name, source in card["recipe"]["sources"].items()),
        ("tokenizer and markup", card["markup_digest"]),
    ]
    own = card["recipe"].get(OWN_HELD_OUT)
    kept_out = f", with {', '.join(map(escaped, own))} held out as here (eval.own_tasks)" if own else ""
    sections += [
        "## Longest rows",
        markdown_table(("row", "tokens"), [(row["row"], row["tokens"]) for row in card["longest"]]),
        "## Digests",
        markdown_table(("of", "SHA-256"), [row for row in digests if row[1]]),
        "## Recipe",
        "As a file of `conf/mix/` this builds the same mix, with the same tokenizer and markup from the same rows"
        f"{kept_out}.",
        f"```yaml\n{recipe_yaml(mix, card['commits'])}```",
    ]
    return "\n\n".join(sections) + "\n"


def recipe_yaml(mix: MixConfig, commits: Mapping[str, str]) -> str:
    """Settings of a mix that differ from the defaults, as a file of conf/mix/; hub datasets are pinned to `commits`."""
    defaults = as_dict(MixConfig(name=""))
    defaults["sources"] |= {name: as_dict(MixSourceConfig()) for name in mix.own_sources}
    values = _without(as_dict(mix), defaults)
    for name, commit in commits.items():
        values["sources"][name]["revision"] = commit
    in_order = {key.name: values[key.name] for key in fields(mix) if key.name in values}
    return written(in_order)


def _without(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Values that differ from the defaults, at any depth."""
    return {
        key: _without(value, defaults[key]) if isinstance(value, dict) and key in defaults else value
        for key, value in values.items()
        if key not in defaults or value != defaults[key]
    }


def _kept(card: MixCard, source: str, rows: int) -> int:
    """Rows of a source in the mix."""
    return rows - sum(card["dropped_by_source"].get(source, {}).values()) + card["repeated"].get(source, 0)


def _token_table(card: MixCard) -> str:
    whole = card["target_tokens"]["sum"]
    rows = []
    for name, part in groups(card):
        prompt, target = part["prompt_tokens"], part["target_tokens"]
        spread = [f"{spread[key]:,.0f}" for spread in (prompt, target) for key in ("median", "mean", "max")]
        rows.append((name, part["rows"], *spread, f"{target['sum'] / whole:.1%}"))
    tokens = [f"{what} {key}" for what in ("prompt", "target") for key in ("median", "mean", "max")]
    return markdown_table(("dataset", "rows", *tokens, "share of targets"), rows)
