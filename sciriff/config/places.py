"""Where the package, its conf/ and sample/, and the user's cache are."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
SAMPLE = PACKAGE / "sample"


def conf_dir() -> Path:
    """The folder conf/: beside the package in a checkout, inside it in an installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else PACKAGE / "conf"


def default_cache() -> Path:
    """The default of `cache_dir`, as conf/config.yaml has it."""
    own, shared = os.environ.get("SCIRIFF_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(shared or Path.home() / ".cache") / "sciriff"
