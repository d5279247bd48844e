"""Keep Python from taking modules of the folder that one is in, which may be a stranger's, in the processes started."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def take_no_modules_from_here() -> None:
    """Set PYTHONSAFEPATH for all children. A checkout that is not installed lends itself to them by PYTHONPATH, as the
    folder one is in did."""
    os.environ["PYTHONSAFEPATH"] = "1"
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if (CHECKOUT / "pyproject.toml").is_file() and str(CHECKOUT) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), *known]))
