"""judge: who rates free text."""

from dataclasses import dataclass

from omegaconf import MISSING

from sciriff.config.roles import setting
from sciriff.config.server import PROVIDERS, ServerConfig
from sciriff.run.user_error import UserError


@dataclass
class JudgeConfig(ServerConfig):
    provider: str = setting(MISSING, choices=("none", "recorded", *PROVIDERS))
    """openai, anthropic, local (any server with OpenAI's API), recorded (responses saved before), or none: the two
    columns that need a judge are reported as missing."""
    model: str | None = None
    """The judge, by the server's name for it. Its answers are kept under this name and the prompt, never paid twice."""
    max_tokens: int = setting(512, least=1)
    """Longest response, tokens. A response that was cut off before its rating is asked for again with a larger one."""
    path: str | None = setting(None, path=True)
    """recorded: a folder with `<task>/lm_judge_raw.json`, as the original code's batches leave them."""

    def __post_init__(self) -> None:
        if not self.asks:
            return
        if not self.model:
            raise UserError(f"judge={self.provider} needs judge.model=...")
        self.check("judge", self.provider)

    @property
    def asks(self) -> bool:
        """Whether a server is asked."""
        return self.provider in PROVIDERS
