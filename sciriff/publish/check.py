"""Ask the hub before a run whether it will take the push: `python -m sciriff.publish.check SECTION_AS_JSON LICENCE`.

The driver starts this as a child, since huggingface_hub takes a second to load. It prints a line for each finding, that
begins with `problem: ` (the push would fail) or `note: ` (a person should know).
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sciriff.config import PublishConfig, Target
from sciriff.publish import hub, licences
from sciriff.run.messages import clean_logging, show
from sciriff.run.user_error import UserError

PROBLEM, NOTE = "problem: ", "note: "
OUT_OF_REACH = (
    "the hub is out of reach now ({reason}), so whether it takes the push is not known; it is tried at the end, and "
    "where that fails the same command pushes what is missing"
)
PAUSE = 1.0
"""Seconds before the hub is asked again after a cut connection."""
MAY_NOT_WRITE = ("read",)
"""Roles of a token, or in an organisation, that push nothing."""


def findings(settings: PublishConfig, licence: str | None, api: Any = None) -> Iterator[str]:
    """Problems and notes of a push that is planned."""
    for target in settings.targets:
        if target.what != "mix" and not settings.private:
            name = target.repo.rpartition("/")[2]
            if remark := licences.remark(licence, name):
                yield f"{NOTE}{remark}"
    for last in (False, False, True):
        try:
            yield from _asked(settings, api or hub.api())
            return
        except UserError as error:
            yield f"{PROBLEM}{error}"
            return
        except hub.failures() as error:
            if hub.passes(error) and not last:
                time.sleep(PAUSE)
                continue
            if _is_unknown(error):
                yield f"{PROBLEM}publish=hub: the hub does not know this token: {hub.LOGIN}"
            elif hub.passes(error):
                yield NOTE + OUT_OF_REACH.format(reason=hub.reason(error))
            else:
                yield f"{PROBLEM}publish=hub: {hub.reason(error)}"
            return


def _asked(settings: PublishConfig, api: Any) -> list[str]:
    """What the hub's answers say, once all are there."""
    found = list(_access(settings, api.whoami()))
    for target in settings.targets:
        found += _repository(api, settings, target)
    return found


def _access(settings: PublishConfig, known: Mapping[str, Any]) -> Iterator[str]:
    """Whether the owner of the token may write in the name of the repository's owner, as far as the hub says."""
    assert settings.repo is not None
    owner, user = settings.repo.partition("/")[0], str(known.get("name"))
    roles = {str(org.get("name")): org.get("roleInOrg") for org in known.get("orgs") or ()}
    named = {name.lower(): name for name in (user, *roles)}
    if owner.lower() not in named:
        others = f" and of {', '.join(sorted(roles))}" if roles else ""
        yield f"{PROBLEM}publish.repo={settings.repo}: the token is {user}'s{others}, and {owner} is none of them"
    elif roles.get(named[owner.lower()]) in MAY_NOT_WRITE:
        yield f"{PROBLEM}publish.repo={settings.repo}: {user} only reads in the organisation {owner}"
    token = (known.get("auth") or {}).get("accessToken") or {}
    if token.get("role") in MAY_NOT_WRITE:
        yield f"{PROBLEM}publish=hub: the token {token.get('displayName', '')} of {user} may only read: {hub.LOGIN}"
    elif token.get("role") == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or ()
        written = [scope for scope in scopes if "repo.write" in (scope.get("permissions") or ())]
        names = {str((scope.get("entity") or {}).get("name")).lower() for scope in written}
        if not names & {owner.lower(), settings.repo.lower()}:
            yield (
                f"{NOTE}the token is fine-grained, and the hub lists no right to write for {owner} or {settings.repo}; "
                "without it the push at the end is refused"
            )


def _repository(api: Any, settings: PublishConfig, target: Target) -> Iterator[str]:
    info = hub.found(api, target)
    if info is None:
        return
    hub.refuse_public(target, settings, info)
    seen = "private" if info.private else "public"
    files = len(info.siblings or ())
    yield f"{NOTE}{target.repo} is there ({target.kind}, {seen}, {files} files): what differs is pushed on top of it"


def _is_unknown(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    return response is not None and response.status_code == 401


def main() -> None:
    clean_logging()
    values, licence = json.loads(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    for line in findings(PublishConfig(**values), licence or None):
        show(line)


if __name__ == "__main__":
    main()
