"""What the licences of base models and rows ask of whoever passes a model on, as far as it is known here."""

from sciriff.results.markdown_table import escaped

RULES = {
    "llama2": "a copy of the Llama 2 Community License and its notice go with the model, and its Acceptable Use Policy "
    "holds; who has more than 700 million users a month needs a licence of Meta's own",
    "llama3": "a copy of the Meta Llama 3 Community License goes with the model, its page shows `Built with Meta Llama "
    "3`, its name begins with `Llama 3`, and the Acceptable Use Policy holds",
    "llama3.1": "a copy of the Llama 3.1 Community License goes with the model, its page shows `Built with Llama`, its "
    "name begins with `Llama`, and the Acceptable Use Policy holds",
    "gemma": "the Gemma Terms of Use go with the model, and their Prohibited Use Policy binds whoever gets it",
    "ai2-impact-license-low-risk": "the AI2 ImpACT License (low risk) goes with the model and its use-based "
    "restrictions bind whoever gets it",
    "odc-by": "whoever passes the rows on names their source",
    "cc-by-nc-4.0": "no commercial use, and the source is named",
}
RULES |= {name: RULES["llama3.1"].replace("3.1", name.removeprefix("llama")) for name in ("llama3.2", "llama3.3")}
FREE = ("apache-2.0", "mit")
BUILT_WITH = {
    "llama3": "Built with Meta Llama 3",
    "llama3.1": "Built with Llama",
    "llama3.2": "Built with Llama",
    "llama3.3": "Built with Llama",
}
BEGINS_WITH = {"llama3": "Llama-3", "llama3.1": "Llama", "llama3.2": "Llama", "llama3.3": "Llama"}
"""Licence -> how the name of a model that is passed on must begin."""


def lines(licence: str | None) -> list[str]:
    """Paragraphs of a card on the licence of the base model."""
    if licence is None:
        return ["The licence of the base model is not known here: look it up before this is made public."]
    if licence in FREE:
        return [f"The base model's licence is {licence}; its text and notices go with copies."]
    shown = [f"{BUILT_WITH[licence]}."] if licence in BUILT_WITH else []
    asks = f": {RULES[licence]}" if licence in RULES else ", whose text is on its page"
    return [
        *shown,
        f"The base model's licence is {escaped(licence)}{asks}. This is what is known here; its text counts.",
    ]


def remark(licence: str | None, name: str) -> str | None:
    """A line for somebody who is about to make the model `name` public; None if there is nothing to say."""
    if licence is None:
        return "the licence of the base model is not known (model.license=... names it): may it be passed on?"
    begins = BEGINS_WITH.get(licence)
    if begins and not name.lower().startswith(begins.lower()):
        return f"the base model's licence {licence} asks for a name that begins with {begins}, and {name} does not"
    return None
