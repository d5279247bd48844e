"""What role each key of the config plays: what it decides, and whether it may change in a run that was started."""

from sciriff.config.server import HOW_TO_ASK
from sciriff.config.train import DECIDES_NOTHING

WHERE_AND_HOW = (
    *("engine.python", "engine.memory_fraction", "engine.replicas"),
    *(f"engine.{key}" for key in HOW_TO_ASK),
)
"""Keys on which no answer depends."""

HOW_MUCH = (
    *("eval.tasks", "eval.limit", "eval.samples"),
    *("eval.max_new_tokens", "eval.max_new_tokens_of", "eval.truncation"),
)
"""Keys that say how much is asked, or how: the answers that they leave as they are stay."""

FREE_TO_CHANGE = (
    *("stages", "dry_run", "run_dir", "cache_dir", "report", "log", "plan", "judge", "eval.resamples", "allow_missing"),
    *WHERE_AND_HOW,
    *HOW_MUCH,
    *DECIDES_NOTHING,
)
"""Keys that say what to do now, where, or how to show it, not what the run is: a folder takes other values of them. The
judge is one, since it often comes later, or with more money: its rows say whose they are."""
