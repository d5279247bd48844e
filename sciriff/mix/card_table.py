"""Draw the card of a mix as a table for a terminal. Light, so that the driver can print it."""

from sciriff.data.mix_card import FoundRows, MixCard, MixPart, SourceCard
from sciriff.results.terminal_table import table_lines

HEADER = ("rows", "prompt mean", "max", "target mean", "max", "tokens", "dataset")

DATASETS = 100
"""Most datasets that are listed: more than SciRIFF and Tulu-V2 have together."""

PAIRS = 5
"""Pairs of a row and an evaluation prompt that are listed; card.json has more."""


def lines(card: MixCard) -> list[str]:
    """Draw a line per dataset and the sums, then remarks."""
    rows = []
    for name, part in groups(card):
        prompt, target = part["prompt_tokens"], part["target_tokens"]
        lengths = [text for spread in (prompt, target) for text in (f"{spread['mean']:,.1f}", f"{spread['max']:,}")]
        rows.append((f"{part['rows']:,}", *lengths, f"{prompt['sum'] + target['sum']:,}", name))
    return [*table_lines(HEADER, rows, right=HEADER[:-1]), *remarks(card)]


def groups(card: MixCard) -> list[tuple[str, MixPart]]:
    """(name, counts) of the largest datasets, of the halves and of all."""
    largest = sorted(card["by_dataset"].items(), key=lambda group: (-group[1]["rows"], group[0]))[:DATASETS]
    return [*sorted(largest), *card["by_source"].items(), ("all", card)]


def remarks(card: MixCard) -> list[str]:
    """Lines that a reader of the table must know."""
    lines = [f"{card['target_share']:.1%} of the tokens are learnt"]
    if len(card["by_dataset"]) > DATASETS:
        lines.append(f"the {DATASETS} largest of {len(card['by_dataset']):,} datasets are listed; card.json has all")
    for name, commit in card["commits"].items():
        pinned = card["recipe"]["sources"][name]["revision"] == commit
        advice = "" if pinned else f" (mix.sources.{name}.revision={commit} keeps it)"
        lines.append(f"{name}: revision {commit}{advice}")
    if card["general_missing"]:
        lines.append(f"{card['general_missing']:,} general rows fewer than mix.tulu asks for: the source has no more")
    lines += _source_remarks(card)
    lines += [f"left out, {part['rows']:,} rows: {reason}" for reason, part in card["dropped"].items()]
    lines += [f"repeated: {rows:,} rows of {name} (epochs)" for name, rows in card["repeated"].items()]
    lines += [f"{count['rows']:,} rows {what}, such as {count['first'][0]}" for count, what in _not_learnt(card)]
    if other := card.get("read_with_other_thoughts"):
        lines.append(
            f"{other['rows']:,} rows have something else than text where a thought may be, which is ignored, such as "
            f"{other['first'][0]}"
        )
    if card["same_text"]:
        lines.append(f"{card['same_text']:,} rows have the text of an earlier one: a finished mix is taken row for row")
    if card["shortened"]:
        lines.append(f"shortened: {card['shortened']:,} rows have lost their last turns to mix.context_window")
    if card["held_out_rows"]:
        lines.append(f"{card['held_out_rows']:,} rows are of held-out tasks: scores on those are not of unseen tasks")
    return [*lines, *_validation_remarks(card), *_overlap_remarks(card), *_near_remarks(card)]


def source_rows(card: MixCard) -> list[tuple[str, ...]]:
    """(name, kind, what was asked, rows, tokens, share of the tokens) of each source that the recipe chose from."""
    sources = card.get("sources", {})
    whole = sum(part["tokens"] for part in sources.values())
    return [
        (name, part["kind"], _asked(part), f"{part['rows']:,}", f"{part['tokens']:,}", f"{part['tokens'] / whole:.1%}")
        for name, part in sources.items()
    ]


def _asked(part: SourceCard) -> str:
    if (tokens := part.get("asked_tokens")) is not None:
        return f"{part['asked']}: {tokens:,}"
    if (rows := part.get("asked_rows")) is not None and "rows" in part["asked"] and f"{rows:,}" not in part["asked"]:
        return f"{part['asked']}: {rows:,}"
    return part["asked"]


def _source_remarks(card: MixCard) -> list[str]:
    """What was asked of each source and what the mix has, where it says more than the caps of SciRIFF and Tulu-V2."""
    sources = card.get("sources", {})
    if sources.keys() <= {"sciriff", "tulu"} and not any("%" in part["asked"] for part in sources.values()):
        return [part["short"] for part in sources.values() if "short" in part]
    lines = [
        f"{name} ({kind}): {asked}; {rows} rows, {tokens} tokens, {share} of all"
        for name, kind, asked, rows, tokens, share in source_rows(card)
    ]
    return lines + [part["short"] for part in sources.values() if "short" in part]


def _not_learnt(card: MixCard) -> list[tuple[FoundRows, str]]:
    alone = (
        "of several answers are trained on the last one alone, since the tokenizer's chat template shows earlier ones "
        "otherwise (mix.on_bad_row=only_whole leaves them out)"
    )
    lost = f"are trained without their thoughts, for which model.chat={card['chat']} has no place"
    empty = (
        "have an empty thought before an answer, which is not learnt; where the template knows enable_thinking, "
        "++model.chat_arguments.enable_thinking=false makes it part of every prompt, so that the model answers at once"
    )
    found = (
        (card.get("last_answer_alone"), alone),
        (card.get("without_thought"), lost),
        (card.get("empty_thought"), empty),
    )
    return [(count, what) for count, what in found if count is not None]


def _validation_remarks(card: MixCard) -> list[str]:
    validation = card["validation"]
    wanted = validation["wanted"]
    if not wanted:
        return []
    if not validation["by_source"]:
        return ["validation: no rows, since a finished mix is taken whole and leaves none"]
    lines = []
    for half, part in validation["by_source"].items():
        origin = ", ".join(f"{rows:,} {place}" for place, rows in part["from"].items())
        if part["out_of_reach"] is not None:
            lines.append(f"validation: no {half} rows: {part['out_of_reach']}")
            continue
        few = "" if part["rows"] == wanted else f" of the {wanted:,} asked for: no more are left"
        lines.append(f"validation: {part['rows']:,} {half} rows{few}{f' ({origin})' if origin else ''}")
    return lines


def _near_remarks(card: MixCard) -> list[str]:
    """The summary of near-duplicates, and the first pairs."""
    if (near := card.get("near_duplicates")) is None:
        return []
    pairs = near.get("pairs", [])[1:PAIRS]
    return [near["summary"], *(f"{pair['row']} is nearly {pair['like']} ({pair['share']:.0%})" for pair in pairs)]


def _overlap_remarks(card: MixCard) -> list[str]:
    """The summary, and the first pairs of a row and an evaluation prompt that share text."""
    lines = []
    for name, part in (("", card.get("overlap")), ("validation: ", card.get("validation_overlap"))):
        if part is not None:
            lines.append(f"{name}{part['summary']}")
            pairs = part.get("pairs", [])
            lines += [f"{pair['row']} and {pair['instance']}: {pair['shared_words']:,} words" for pair in pairs[:PAIRS]]
    return lines
