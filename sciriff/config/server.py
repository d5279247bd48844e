"""Keys of a model behind a server, which engine and judge have in common."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sciriff.config.roles import HOW, setting
from sciriff.run.user_error import UserError

ADDRESS = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~%-]*)?")
"""Address of a server without user, password or query, since config.yaml is copied into logs and trackers."""
PROVIDERS = ("openai", "local", "anthropic")
"""Servers by their API: OpenAI, any other with OpenAI's API, Anthropic."""
OWN_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}
CLOUDS = {
    ("openai", "azure"): ("https://NAME.openai.azure.com", "AZURE_OPENAI_API_KEY"),
    ("anthropic", "azure"): ("https://NAME.services.ai.azure.com/anthropic", "ANTHROPIC_FOUNDRY_API_KEY"),
    ("anthropic", "bedrock"): ("https://bedrock-runtime.REGION.amazonaws.com", None),
    ("anthropic", "vertex"): ("https://REGION-aiplatform.googleapis.com/v1", None),
}
"""Provider and cloud -> how its address looks, and the variable that usually holds a key; None where the cloud's own
sign-in (AWS's and Google's default credentials) needs none."""


@dataclass
class ServerConfig:
    base_url: str | None = setting(None, HOW, runs_or_sends=True)
    """Up to and including the version: https://api.openai.com/v1."""
    api_key_env: str | None = setting(None, HOW, runs_or_sends=True)
    """Environment variable that holds the key; null sends none. The key itself is written nowhere."""
    via: str | None = setting(None, HOW, runs_or_sends=True)
    """Cloud that serves the provider's models: azure (openai, anthropic), bedrock or vertex (anthropic); null is the
    provider itself. base_url and api_key_env are then the cloud's."""
    temperature: float | None = setting(None, least=0)
    """Null is the server's own."""
    batch: bool = setting(False, HOW)
    """Send all calls through the provider's batch interface: half the price, up to a day."""
    max_usd: float | None = setting(None, HOW, least=0, spends=True)
    """US dollars that the stage may cost in all, earlier starts included; null sets no bound. A model without a known
    price needs null, or the two prices below. A call that times out counts at the most it can cost."""
    input_usd: float | None = setting(None, HOW, least=0, spends=True)
    """US dollars per million tokens of prompts; null looks the model up in the list of known prices."""
    output_usd: float | None = setting(None, HOW, least=0, spends=True)
    """The same for responses."""
    max_concurrency: int = setting(8, HOW, least=1)
    """Calls in flight at once."""
    requests_per_minute: float | None = setting(None, HOW, above=0)
    """Calls a minute at most, evenly spread; null sets no bound, and waits only when the server says so."""
    tokens_per_minute: float | None = setting(None, HOW, above=0)
    """The same for tokens: a call counts with its prompt, by estimate, and the longest answer it may bring."""
    timeout: float = setting(120, HOW, above=0)
    """Seconds for one call."""
    attempts: int = setting(8, HOW, least=1)
    """Attempts before a call counts as failed."""
    poll_seconds: float = setting(60, HOW, above=0)
    """Seconds between looks at a batch."""

    def check(self, section: str, chosen: str) -> None:
        """UserError for what cannot be. `section` is judge or engine, `chosen` its option."""
        if not self.base_url:
            raise UserError(f"{section}={chosen} needs {section}.base_url=...")
        if not _is_address(self.base_url):
            raise UserError(f"{section}.base_url must be http(s)://HOST[:PORT]/v1, with no password or key in it")
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            raise UserError(f"{section}.api_key_env must be the name of an environment variable, not the key itself")
        self._check_cloud(section, chosen)
        if (self.input_usd is None) != (self.output_usd is None):
            raise UserError(f"{section}.input_usd and {section}.output_usd must be given together")

    def _check_cloud(self, section: str, chosen: str) -> None:
        if self.via is None:
            return
        if (chosen, self.via) not in CLOUDS:
            known = ", ".join(via for provider, via in CLOUDS if provider == chosen)
            raise UserError(
                f"{section}.via={self.via} is not known: {section}={chosen} takes {known or 'none'} or null"
            )
        address, variable = CLOUDS[chosen, self.via]
        if urlsplit(self.base_url or "").hostname == OWN_HOSTS[chosen]:
            raise UserError(f"{section}.via={self.via} needs the cloud's own {section}.base_url={address}")
        if self.api_key_env == f"{chosen.upper()}_API_KEY" or (self.api_key_env is None and variable):
            own = variable or "null, which is the cloud's own sign-in"
            raise UserError(f"{section}.via={self.via} needs a key of the cloud's own: {section}.api_key_env={own}")
        if self.batch:
            raise UserError(f"{section}.batch=true needs {section}.via=null: batches are the provider's own")


def _is_address(url: str) -> bool:
    if not ADDRESS.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that hold no IPv6 address, a port that is none
        return False
