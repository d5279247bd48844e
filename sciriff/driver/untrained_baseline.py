"""Which run answers with the model as it was before training: an ordinary one, shared by all that it belongs to."""

from collections.abc import Sequence

OF_TRAINING = ("mix", "train", "deepspeed", "name", "run_dir", "stages", "report")
"""Keys and groups of the command line that do not change what an untrained model answers, or name another run."""


def untrained_overrides(typed: Sequence[str], *, random_weights: bool) -> list[str]:
    """The command line of that run, from the one that was typed.

    Runs over seeds share it: greedy answers do not depend on the seed, and samples are drawn with the default one. A
    model of random weights is made from its seed.
    """
    left_out = OF_TRAINING if random_weights else (*OF_TRAINING, "seed")
    kept = [o for o in typed if o.partition("=")[0].lstrip("+~").partition(".")[0] not in left_out]
    return [*kept, "train=none"]
