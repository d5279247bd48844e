"""What a value may be: each check ends in one line that names the key and what is allowed."""

import math

from sciriff.config.roles import Setting
from sciriff.run.nearest import nearest
from sciriff.run.user_error import UserError


def check(key: str, value: object, setting: Setting) -> None:
    """UserError where the key does not take the value. Whether it may be null is a matter of its type."""
    words = setting.choices
    if words and setting.least is not None and (not isinstance(value, int) or isinstance(value, bool)):
        # a word or a whole number: OmegaConf cannot merge a union into a section that is still missing
        if value not in words:
            allowed = f"{', '.join(map(str, words))} or a whole number of {setting.least} or more"
            raise UserError(f"{key}={value} must be {allowed}")
    elif words and setting.least is None:
        if value is not None and value not in words:
            raise UserError(f"{key}={value} is not known{nearest(str(value), map(str, words))}")
    elif isinstance(value, int | float) and setting.bounds:
        if not math.isfinite(value):
            raise UserError(f"{key}={value} must be a number that is finite")
        if not all(holds(value, limit) for _, limit, holds in setting.bounds):
            raise UserError(
                f"{key}={value} must be {' and '.join(f'{words} {limit}' for words, limit, _ in setting.bounds)}"
            )
