"""engine: who answers the prompts."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import ANSWERED, HOW, setting
from sciriff.config.server import PROVIDERS, ServerConfig
from sciriff.run.user_error import UserError


@dataclass
class EngineConfig(ServerConfig):
    name: str = setting(MISSING, choices=("vllm", "transformers", *PROVIDERS))
    """vllm or transformers run the model here; openai, anthropic or local (any server with OpenAI's API) ask for its
    answers."""
    batch_tokens: int = setting(16384, least=1)
    """transformers: tokens of prompts and answers in one batch at most, padding included."""
    tensor_parallel: int = setting(1, least=1)
    """vllm: GPUs that share one copy of the model."""
    replicas: Any = setting("auto", HOW, choices=("auto",), least=1)
    """vllm, transformers: engines side by side, each with a copy of the model on engine.tensor_parallel GPUs of its
    own; they share the prompts. Counted over all nodes; auto: as many as their GPUs give, or one per node without."""
    memory_fraction: float = setting(0.9, HOW, above=0, most=1)
    """vllm: share of each GPU's memory that it may take."""
    batch_invariant: bool = False
    """vllm: only kernels whose results do not depend on the rest of the batch (VLLM_BATCH_INVARIANT), so that a prompt
    has the same answer in every run, resumed or not. Slower; needs compute capability 8.0 (9.0 in older vLLM)."""
    extra: dict[str, Any] = setting(factory=dict, runs_or_sends=True)
    """vllm: any other of its engine arguments, merged over ours; `+engine.extra.max_num_seqs=64`."""
    python: str | None = setting(None, HOW, runs_or_sends=True, path=True)
    """Interpreter of the prediction stage; vLLM pins its torch, so it often has an environment of its own."""
    model: str | None = None
    """The server's name for the model; null is model.api.name, or else model.path, which is what `vllm serve` takes."""
    temperature: float | None = setting(0.0, ANSWERED, least=0)
    """0 is greedy, more samples, as eval.samples needs. Null is a server's own, and 0 for an engine that runs here."""
    top_p: float = setting(1.0, above=0, most=1)
    """Sample among the most likely tokens that together have this share of the probability."""
    timeout: float = setting(600, HOW, above=0)
    """Seconds for one call. Longer than a judge's: an answer that is given up on may have to be paid for twice."""

    def __post_init__(self) -> None:
        if self.top_p < 1 and (self.temperature == 0 or (self.temperature is None and not self.asks)):
            raise UserError(
                f"engine.top_p={self.top_p:g} means nothing at engine.temperature={self.temperature or 0:g}, which "
                "draws no token; give both, or neither"
            )
        if self.asks:
            self.check("engine", self.name)
            if self.python is not None:
                raise UserError(f"engine.python has no meaning for engine={self.name}, which runs no model here")
        if self.name == "anthropic":
            if (self.temperature or 0) > 1:
                raise UserError(f"engine.temperature={self.temperature:g}: engine=anthropic takes 1 at most")
            if self.top_p < 1 and self.temperature is not None:
                raise UserError(
                    f"engine.temperature={self.temperature:g} and engine.top_p={self.top_p:g}: engine=anthropic takes "
                    "one of them; engine.temperature=null leaves that to it"
                )
        for key, value in (("tensor_parallel", self.tensor_parallel > 1), ("batch_invariant", self.batch_invariant)):
            if value and self.name != "vllm":
                raise UserError(f"engine.{key}={getattr(self, key)} needs engine=vllm, and this is {self.name}")

    @property
    def asks(self) -> bool:
        """Whether a server is asked."""
        return self.name in PROVIDERS
