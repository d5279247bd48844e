"""Cases of tasks/cases/: a reference of each held-out task, some answers to it and their expected scores."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "tasks" / "cases"

CASES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
REFERENCES: dict[str, str] = {name: case["reference"] for name, case in CASES.items()}
