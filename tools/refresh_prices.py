"""Write sciriff/models/api/prices.tsv anew from litellm's price table: python tools/refresh_prices.py [VERSION]

litellm is downloaded from the package index and never installed; its table names each model as its provider does.
"""

import csv
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

VERSION = "1.110.2"
TABLE = "litellm/model_prices_and_context_window_backup.json"
PRICES = Path(__file__).parents[1] / "sciriff" / "models" / "api" / "prices.tsv"
COMMENT = """\
# litellm {version}
# US dollars per million tokens of prompts and of responses in single calls, by litellm's price table of that version.
# Written by tools/refresh_prices.py; input_usd and output_usd in the config override a row. `via` is the cloud that
# serves the model. Where long prompts cost more, a row has the price of short ones; conf/model/ sets a shorter context.
"""
PREFIXES = {"azure": "azure/", "azure_ai": "azure_ai/", "vertex_ai-anthropic_models": "vertex_ai/"}
"""litellm's providers -> what it writes before their names of models."""
VIA = {
    "openai": "",
    "anthropic": "",
    "azure": "azure",
    "azure_ai": "azure",
    "vertex_ai-anthropic_models": "vertex",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
}


def rows(table: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """(via, model, input, output) of the chat models that engine and judge can ask, sorted."""
    found = {}
    for key, facts in table.items():
        provider = str(facts.get("litellm_provider"))
        name = key.removeprefix(PREFIXES.get(provider, ""))
        prices = [facts[kind] for kind in ("input_cost_per_token", "output_cost_per_token") if kind in facts]
        if provider not in VIA or facts.get("mode") not in ("chat", "responses") or len(prices) < 2 or "/" in name:
            continue
        if (VIA[provider] == "bedrock" or provider == "azure_ai") and "claude" not in name:
            continue
        found[VIA[provider], name] = [f"{round(1e6 * price, 4):g}" for price in prices]
    return sorted((via, name, *prices) for (via, name), prices in found.items())


def file_of_litellm(name: str, version: str = VERSION) -> bytes:
    """Download a version of litellm and read one file of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, f"--dest={folder}", f"litellm=={version}"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)


def main() -> None:
    version = sys.argv[1] if len(sys.argv) > 1 else VERSION
    table = json.loads(file_of_litellm(TABLE, version))
    with PRICES.open("w", newline="") as file:
        file.write(COMMENT.format(version=version))
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("via", "model", "input", "output"))
        writer.writerows(rows(table))


if __name__ == "__main__":
    main()
