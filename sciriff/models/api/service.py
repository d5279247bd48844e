"""The servers that a config names: what they need before they can be asked, what they cost, how they are asked for it.

A key is read from the environment alone, when it is needed, and is handed to nobody but the server.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sciriff.config import Config, JudgeConfig, ServerConfig
from sciriff.models.api.anthropic import AnthropicBatches
from sciriff.models.api.batch import Batches, read_state
from sciriff.models.api.calls import Asking, Call, Reply, Sent, Tally
from sciriff.models.api.endpoint import Endpoint
from sciriff.models.api.limits import Budget, Pacer, estimated_tokens
from sciriff.models.api.openai import OpenAiBatches
from sciriff.models.api.prices import Price, price_list
from sciriff.run.json_lines import Message
from sciriff.run.machine import is_installed
from sciriff.run.messages import show
from sciriff.run.number_format import dollars
from sciriff.run.user_error import UserError

KEY = re.compile(r"[!-~]+")
"""Printable ASCII. Python's own complaint about another character in a header would show the key."""
UNKNOWN_PRICE = Price(0, 0)
SIGN_IN = {"bedrock": ("boto3", "anthropic[bedrock]"), "vertex": ("google.auth", "anthropic[vertex]")}
"""Cloud -> the module that its sign-in needs besides the client, and what installs it."""
WORDS = {
    "engine": ("a model that runs here, or engine=local", "answering"),
    "judge": ("judge=none or judge=local", "judging"),
}
"""Section of the config -> what a person without a key may choose, and what costs."""


@dataclass(frozen=True)
class Service:
    """A model behind a server, as a section of the config says it."""

    section: str
    """judge or engine."""
    provider: str
    """openai, local (any other server that speaks OpenAI's language) or anthropic."""
    model: str
    """The server's name for the model."""
    server: ServerConfig

    def problems(self) -> Iterator[str]:
        """Why this model cannot be asked from here, one line each."""
        server, section = self.server, self.section
        key, package = self.endpoint().key, self.endpoint().package
        if not is_installed(package):
            yield f"{section}={self.provider} needs the package {package}, which is missing: pip install 'sciriff[api]'"
        if server.via in SIGN_IN and not is_installed(SIGN_IN[server.via][0]):
            module, installs = SIGN_IN[server.via]
            yield f"{section}.via={server.via} needs the package {module}, which is missing: pip install '{installs}'"
        if server.via == "azure" and package == "openai" and not os.environ.get("OPENAI_API_VERSION"):
            yield f"{section}.via=azure needs the environment variable OPENAI_API_VERSION, such as 2024-10-21"
        if server.api_key_env is not None and key is None:
            yield (
                f"{section}={self.provider} needs a key in the environment variable {server.api_key_env}; "
                f"set it, or choose {WORDS[section][0]}"
            )
        if key is not None and not KEY.fullmatch(key):
            yield f"the environment variable {server.api_key_env} holds characters that no key has, such as a blank"
        if server.max_usd is not None and self.price() is None:
            yield (
                f"{section}.max_usd={server.max_usd:g} cannot hold: the price of {self.model} is not known here; give "
                f"{section}.input_usd and {section}.output_usd (US dollars per million tokens), or "
                f"{section}.max_usd=null"
            )

    def price(self) -> Price | None:
        """Price as configured, else by the price list; None where neither says. A batch costs less."""
        server = self.server
        if server.input_usd is not None and server.output_usd is not None:
            price: Price | None = Price(server.input_usd, server.output_usd)
        else:
            price = price_list(server.via).get(self.model)
        return price.in_batch() if price is not None and server.batch else price

    def endpoint(self) -> Endpoint:
        """The server, with the key that opens it."""
        server = self.server
        key = os.environ.get(server.api_key_env) if server.api_key_env else None
        address = (server.base_url or "").rstrip("/")
        return Endpoint(address, (key or "").strip() or None, server.timeout, self.provider, server.via)

    def call(
        self,
        id: str,
        said: str | Sequence[Message],
        longest: int,
        more: Mapping[str, Any] = {},
        about: Mapping[str, Any] = {},
    ) -> Call:
        """One question, or a conversation that ends in one, for at most `longest` tokens. `more`: further keys of the
        request; `about`: handed back."""
        # OpenAI's newer models refuse max_tokens; all others know nothing else
        limit_name = "max_completion_tokens" if self.provider == "openai" else "max_tokens"
        messages = [Message("user", said)] if isinstance(said, str) else said
        # No request can hold a lone surrogate; a question mark stands for it.
        sendable = [Message(one.role, one.content.encode("utf-8", "replace").decode()) for one in messages]
        body = {"model": self.model, **self._batch_kind.dialect.conversation(sendable), limit_name: longest}
        if self.server.temperature is not None:  # models that think take none
            body["temperature"] = self.server.temperature
        tokens = sum(estimated_tokens(message.content) for message in messages)
        return Call(id, self.model, tokens, dict(about), {**body, **more}, longest)

    def greedy(self) -> "Service":
        """The same, asked for its most likely answers, as far as it takes a temperature."""
        settled = None if self.server.temperature is None else 0.0
        return replace(self, server=replace(self.server, temperature=settled))

    def usd(self, call: Sent, reply: Reply) -> float | None:
        """US dollars of an answer, perhaps of an earlier model; None where the price is not known."""
        price = replace(self, model=call.model).price()
        return None if price is None else round(price.of(reply.input_tokens, reply.output_tokens), 9)

    def collect_earlier(
        self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], object], *, batch_file: Path
    ) -> Tally:
        """Take all answers of an earlier start's batch, if one is in flight. UserError without server.batch."""
        state = read_state(batch_file)
        if state is None:
            return Tally()
        if not self.server.batch:
            raise UserError(
                f"{batch_file}: the batch {state.batch or 'of an earlier start'} is in flight and would be paid "
                f"twice: resume with {self.section}.batch=true, or cancel it at the server and remove that file"
            )
        return self._batches(batch_file).collect_earlier(calls, on_reply)

    def ask(
        self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], None], *, spent: float, batch_file: Path
    ) -> Tally:
        """Print what the calls cost, then make them: one by one, or as a batch that `batch_file` carries over a kill.
        UserError where `spent` (US dollars) and the calls exceed the cap."""
        known = self.price()
        price = known or UNKNOWN_PRICE
        most = sum(call.most(price) for call in calls)
        source = f" ({price.source})" if price.source else ""
        cost = f"{dollars(most)} at most by estimate{source}" if known else "at a price not known here"
        log_line(
            f"{self.model}: {len(calls)} calls, about {sum(call.input_tokens for call in calls):,} tokens of prompts "
            f"and at most {sum(call.longest for call in calls):,} of responses: {cost}, {dollars(spent)} spent before"
        )
        if self.server.max_usd is not None and spent + most > self.server.max_usd:
            cheaper = "" if self.server.batch else f" or (at half the price) {self.section}.batch=true"
            raise UserError(
                f"{WORDS[self.section][1]} may cost {dollars(spent + most)} in all, more than {self.section}.max_usd="
                f"{self.server.max_usd:g}: raise it, or choose a cheaper model{cheaper}"
            )
        if self.server.batch:
            return self._batches(batch_file).answer(calls, on_reply)
        asking = Asking(
            self.endpoint(),
            self._batch_kind.dialect,
            on_reply,
            price,
            Budget(self.server.max_usd, spent),
            Pacer(self.server.requests_per_minute, self.server.tokens_per_minute),
            self.server.max_concurrency,
            self.server.attempts,
            log_line,
        )
        return asking.ask_all(calls)

    @property
    def _batch_kind(self) -> type[Batches]:
        return AnthropicBatches if self.provider == "anthropic" else OpenAiBatches

    def _batches(self, state_file: Path) -> Batches:
        return self._batch_kind(self.endpoint(), state_file, self.server.attempts, self.server.poll_seconds, log_line)

    def say_outcome(
        self, tally: Tally, names: Mapping[str, str], what: str, failures: Callable[[list[str]], str], missing: bool
    ) -> None:
        """Print which calls were made again; UserError for calls without an answer, unless they failed and
        `missing` ones are allowed. `names`: id -> answer; `what` describes unasked calls, `failures` failed ones."""
        if tally.retries:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(tally.retries.items()))
            log_line(f"calls that were made again: {reasons}")
        if tally.unasked:
            lost = f" ({tally.uncertain} calls that brought no answer count at the most they can cost)"
            raise UserError(
                f"{self.section}.max_usd={self.server.max_usd:g} is used up{lost if tally.uncertain else ''} and "
                f"{tally.unasked} {what}; paid answers are kept, and a higher {self.section}.max_usd resumes from there"
            )
        failed = [(names[id], why) for id, why in tally.failed.items() if id not in tally.filtered]
        if failed:
            text = f"{failures([name for name, _ in failed])}; {': '.join(failed[0])}"
            if not missing:
                raise UserError(
                    f"{text}. The rest is kept; run again to ask for these, or allow_missing=true does without"
                )
            log_line(text)


def answering_service(config: Config) -> Service:
    """The service that answers. UserError where nobody can know the server's name for the model."""
    engine, model = config.engine, config.answering_model
    name = engine.model or (model.api.name if model.api else model.path)
    if name is None:
        raise UserError(f"engine={engine.name} needs engine.model=NAME, the server's name for model={model.name}")
    if model.api is not None and not model.api.takes_temperature:
        engine = replace(engine, temperature=None)
    return Service("engine", engine.name, name, engine)


def judging_service(judge: JudgeConfig) -> Service:
    return Service("judge", judge.provider, judge.model or "", judge)


def judge_problems(judge: JudgeConfig) -> Iterator[str]:
    """Why this judge cannot be asked from here, one line each."""
    if judge.provider == "recorded":
        if judge.path is None:
            yield "judge=recorded needs judge.path=FOLDER with <task>/lm_judge_raw.json in it"
        elif not Path(judge.path).is_dir():
            yield f"judge.path={judge.path} is not a folder"
    if judge.asks:
        yield from judging_service(judge).problems()


def log_line(line: str) -> None:
    show(line)
