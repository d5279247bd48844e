"""Where the package and its conf/ and sample/ are."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
SAMPLE = PACKAGE / "sample"


def conf_dir() -> Path:
    """The folder conf/: beside the package in a checkout, inside it in an installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else PACKAGE / "conf"
