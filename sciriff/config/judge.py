"""judge: who rates free text."""

from dataclasses import dataclass

from omegaconf import MISSING

from sciriff.config.checks import at_least, one_of
from sciriff.config.server import PROVIDERS, ServerConfig
from sciriff.run.user_error import UserError


@dataclass
class JudgeConfig(ServerConfig):
    provider: str = MISSING
    """openai, anthropic, local (any server that speaks OpenAI's language), recorded (responses that were saved before),
    or none: the two columns that need a judge stay missing, and say so."""
    model: str | None = None
    """The judge, by the server's name for it. Its answers are kept under this name and the prompt, never paid twice."""
    max_tokens: int = 512
    """Longest response, tokens. A response that it cut off before its rating is asked for again with a larger one."""
    path: str | None = None
    """recorded: a folder with `<task>/lm_judge_raw.json`, as the original code's batches leave them."""

    def __post_init__(self) -> None:
        one_of("judge.provider", self.provider, ("none", "recorded", *PROVIDERS))
        if not self.asks:
            return
        if not self.model:
            raise UserError(f"judge={self.provider} needs judge.model=...")
        self.check("judge", self.provider)
        at_least("judge.max_tokens", self.max_tokens, 1)

    @property
    def asks(self) -> bool:
        """Whether a server is asked."""
        return self.provider in PROVIDERS
