"""Fill a template: one file with its style and script, a policy that admits nothing else, all text made visible."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sciriff.run.visible import visible

Functions = Mapping[str, Callable[..., Any]]


def filled(
    template: Path, styles: Sequence[Path], scripts: Sequence[Path], functions: Functions, shown: Mapping[str, Any]
) -> bytes:
    """The page. `functions` are functions and filters of the template, which may include others beside it or here."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    environment.filters |= {**functions, "visible": visible}
    environment.globals |= functions
    page = environment.get_template(template.name)
    return page.render(**_source("style", styles), **_source("script", scripts), **shown).encode()


def _source(name: str, files: Sequence[Path]) -> dict[str, str]:
    """Files that become part of the page, and the digest by which the page's policy lets them in."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return {name: Markup(text), f"{name}_digest": digest}
