"""Which sources a mix reads. Refuses a mix that lacks one, or has one too many."""

from sciriff.config import MixConfig, SourceConfig
from sciriff.run.user_error import UserError


def used_sources(mix: MixConfig) -> dict[str, SourceConfig]:
    """The sources that this mix reads, by name, in the order in which they choose: one's own first, science before
    general. UserError if one that it needs is not configured."""
    if mix.path is not None:
        if mix.own_sources:
            raise UserError(
                f"mix.path={mix.path} is a finished mix and is taken whole; leave out "
                f"{' and '.join(f'mix.sources.{name}' for name in mix.own_sources)}, or mix.path"
            )
        return {"path": SourceConfig(path=mix.path)}
    if mix.sources["published"].exists:
        if others := [name for name, source in mix.sources.items() if name != "published" and source.exists]:
            raise UserError(
                "mix.sources.published is a finished mix and is taken whole; leave out "
                f"{' and '.join(f'mix.sources.{name}' for name in others)}, or mix.sources.published"
            )
        return {"published": mix.sources["published"]}
    used = wanted_sources(mix)
    if mix.validation_rows:
        used |= {name for name in ("sciriff", "tulu") if mix.source(name).exists}
    order = sorted(mix.own_sources, key=lambda name: (mix.kind_of(name) != "science", name))
    science = [name for name in order if mix.kind_of(name) == "science"]
    order = [*science, "sciriff", *order[len(science) :], "tulu"]
    return {name: mix.source(name) for name in order if name in used}


def wanted_sources(mix: MixConfig) -> set[str]:
    """Names of the sources whose rows enter the mix, not those that only give validation rows."""
    own = set(mix.own_sources)
    sciriff, tulu = mix.source("sciriff"), mix.source("tulu")
    takes_sciriff = mix.per_task != 0 or sciriff.rows is not None
    takes_tulu = mix.tulu not in ("none", 0) or tulu.rows is not None
    if takes_sciriff and not sciriff.exists and (not own or sciriff.rows is not None):
        raise UserError(
            "there are no science rows: give mix.sources.sciriff.path=FOLDER, rows of your own with "
            "+mix.sources.NAME.path=FILE, or mix.per_task=0"
        )
    if takes_tulu and not tulu.exists and (not own or mix.tulu != "match" or tulu.rows is not None):
        problem = f"there are no general rows for mix.tulu={mix.tulu}"
        raise UserError(f"{problem}: give mix.sources.tulu.path=FILE, or mix.tulu=none")
    return (
        own
        | ({"sciriff"} if takes_sciriff and sciriff.exists else set())
        | ({"tulu"} if takes_tulu and tulu.exists else set())
    )
