"""Which modules of a model text goes through, and which are towers for pictures or sounds with what joins them."""

from typing import Any


def prefixes(language_model: Any) -> tuple[str, ...]:
    """Return the names of the modules that text goes through, each with a dot; ("",) if that is the whole model.

    These are the decoder and the output layer of a checkpoint with towers, whose config has a part for text.
    """
    if language_model.config.get_text_config() is language_model.config:
        return ("",)
    parts = [language_model.get_decoder(), language_model.get_output_embeddings()]
    if language_model in parts or language_model.base_model in parts:
        return ("",)
    return tuple(f"{name}." for name, module in language_model.named_modules() if any(module is part for part in parts))


def towers(language_model: Any) -> list[str]:
    """Return the names of the modules that text does not go through, those that stand beside the language model."""
    inside = prefixes(language_model)
    depth = max(name.count(".") for name in inside)
    outside = (name for name, _ in language_model.named_parameters() if not name.startswith(inside))
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in outside))
