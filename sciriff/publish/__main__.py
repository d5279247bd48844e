"""`python -m sciriff.publish RUN_DIR publish.to=hub publish.repo=USER/NAME` pushes a finished run to the hub.

Whoever starts it by hand types where to: the folder's own config is not followed, unless with --trust.
"""

import os

from sciriff.config import Config, Target
from sciriff.data.mix_card import read_mix_card
from sciriff.publish import cards, hub, leaks, pushed_files
from sciriff.publish.pushed_files import CARD, Item
from sciriff.publish.record import Pushed, write_published
from sciriff.results.scores import read_scores
from sciriff.run.manifest import Manifest
from sciriff.run.messages import say, show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.stage import run_stage

LONGEST = 500
"""Characters of a line that names files."""


def main(config: Config, run: RunDir) -> None:
    """Push each target and write RUN/published.json. UserError says what is wrong, or missing."""
    if config.publish.to == "none":
        raise UserError("publish.to=none: nothing is pushed; type publish.to=hub publish.repo=USER/NAME, or --trust")
    refuse_unfinished(run)
    api = hub.api()
    prepared = [(target, items_of(target, config, run, api.token)) for target in config.publish.targets]
    pushed: list[Pushed] = []
    for target, items in prepared:
        size = sum(item.size for item in items)
        say(f"{target.what}: {len(items)} files, {_bytes(size)}, to {target.repo}")
        message = config.publish.message or f"{target.what} of the run {config.name}"
        pushed.append(hub.push(api, target, config.publish, items, message))
        write_published(run.published, pushed)
        show(f"{target.what}: {pushed[-1]['url']} ({'private' if pushed[-1]['private'] else 'public'})")


def refuse_unfinished(run: RunDir) -> None:
    """UserError where a stage of the run has not ended well."""
    for stage, record in Manifest.read(run.manifest).stages.items():
        if stage != "publish" and record.status != "done":
            raise UserError(f"this run is not finished: its stage {stage} is {record.status}; finish it, then publish")


def items_of(target: Target, config: Config, run: RunDir, token: str | None = None) -> list[Item]:
    """The files of a push with its card, looked through for secrets and places of this machine."""
    folder = {"model": run.model, "adapter": run.adapter, "mix": run.mix.parent}[target.what]
    items, left = pushed_files.of_folder(target.what, folder)
    if left and target.what != "mix":
        names = shortened(", ".join(map(visible_line, left)), LONGEST)
        say(f"{target.what}: stays here, since it is not part of every model: {names}")
    places = leaks.places(config, run)
    page = run.mix_card_page if target.what == "mix" else folder / CARD
    text = pushed_files.text_of_card(page, config.name or "A run")
    if target.what == "mix":
        text = cards.of_mix(text, read_mix_card(run.mix_card), config, (item.name for item in items))
    else:
        own = config.eval.model is None and config.predictions is None and run.scores.is_file()
        licence = cards.base_licence(config.model, cards.parts(text)[0])
        scores = read_scores(run.scores) if own else None
        text = cards.of_model(text, config, scores, licence, target.what, _overlap(config, run))
    items = [*leaks.without_place(items), Item(CARD, cards.named_places(text, places).encode(errors="replace"))]
    leaks.refuse(items, leaks.secrets(os.environ, token), places)
    return items


def _overlap(config: Config, run: RunDir) -> str | None:
    """What the mix of this run's training shares with evaluation prompts; None where that is not known."""
    if config.train.method == "none" or not run.mix_card.is_file():
        return None
    found = read_mix_card(run.mix_card).get("overlap")
    return found["summary"] if found else None


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    run_stage(main)
