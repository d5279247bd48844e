"""Have a server answer the prompts. No answer is paid for twice, killed or not."""

from dataclasses import replace
from typing import Any

from sciriff.config import Config
from sciriff.data.records import AnswerKey, Prediction, named
from sciriff.models.answer_parts import AnswerParts
from sciriff.models.api.calls import Call, Reply, Sent, Tally
from sciriff.models.api.limits import SERVERS_MARKUP
from sciriff.models.api.service import UNKNOWN_PRICE, Service, answering_service, log_line
from sciriff.models.engines.sampling import seed_of, stream_of
from sciriff.models.identity import context_of
from sciriff.models.loading import load_config, load_tokenizer
from sciriff.predict import parity, saved_rows
from sciriff.predict.estimated_tokens import EstimatedTokens
from sciriff.predict.general_over_api import GeneralPrompts
from sciriff.predict.paid_answers import PaidAnswer, PaidAnswers, endings, model_keys, server_settings
from sciriff.predict.prompts import Prompt
from sciriff.predict.saved_rows import RequestedAnswer
from sciriff.predict.thought_rows import find_thoughts, split_paid
from sciriff.run.digest import value_digest
from sciriff.run.locks import hold_or_refuse
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def tokenizer_and_context(config: Config) -> tuple[Any, int]:
    """The tokenizer that measures prompts, and the most tokens of a prompt with its answer. It is the model's own, so
    that prompts are cut as for any other engine, or an estimate where only the provider has one."""
    model = config.answering_model
    if model.api is not None:
        return EstimatedTokens(), model.context - SERVERS_MARKUP
    own = load_config(model) if model.path is not None else None
    return load_tokenizer(model), context_of(model, own) - SERVERS_MARKUP


def answer(config: Config, run: RunDir, prompts: list[Prompt], tokenizer: Any) -> None:
    """Write the rows of all prompts, and after these of the general ones, within one cap. UserError if it forbids that
    or some stay unanswered; paid answers are kept."""
    service = answering_service(config)
    if found := list(service.problems()):
        raise UserError(found[0])
    with hold_or_refuse(run.predict_lock, f"{run.root}: another stage asks for these answers, and two would pay twice"):
        Answering(config, run, service, prompts, tokenizer).finish()


class Answering:
    """The prompts of a run and their answers, from what is paid for to the rows."""

    def __init__(self, config: Config, run: RunDir, service: Service, prompts: list[Prompt], tokenizer: Any) -> None:
        self.config = config
        self.run = run
        self.service = service
        self.prompts = prompts
        self.api = config.answering_model.api
        self.asked: dict[AnswerKey, RequestedAnswer] = {}
        self.asking: dict[str, list[Prompt]] = {}
        """Digest -> its prompts: instances with the same prompt are asked once for each sample."""
        for prompt in prompts:
            instance, question = prompt.instance, self.question(prompt)
            self.asked[prompt.key] = RequestedAnswer(
                instance.task, question, self.limit(prompt), instance.reference, prompt.sample
            )
            if not prompt.skipped:
                self.asking.setdefault(self.digest(prompt), []).append(prompt)
        self.rows = {prompt.key: prompt.skipped_row() for prompt in prompts if prompt.skipped}
        self.thoughts, self.tokenizer = find_thoughts(config, tokenizer), tokenizer
        self.general = GeneralPrompts(config, run, service, self.split) if "general" in config.active_stages else None

    def top_p(self) -> dict[str, float]:
        """Sent only where it is not 1: some models take it at no value."""
        return {"top_p": self.config.engine.top_p} if self.config.engine.top_p < 1 else {}

    def settings(self) -> dict[str, Any]:
        """Settings that all answers depend on; not where they are asked for."""
        model = self.config.answering_model
        return {**server_settings(self.service, model), **self.top_p(), "parity": self.config.eval.parity}

    def digest(self, prompt: Prompt) -> str:
        """Key of an answer: the same prompt, with the same limit, under the same settings, and which sample of it.
        That of the first sample is what it is without samples, so that asking for more pays for the others alone."""
        wanted = self.config.eval
        thinking = [self.config.most_thought] if wanted.thinking_tokens and self.config.most_thought else []
        return self.question(prompt, wanted.longest_answer(prompt.instance.task), *thinking)

    def question(self, prompt: Prompt, *limit: int) -> str:
        """Digest of the same without the limit, under which an answer that did not run into its own is no other."""
        settings = {key: value for key, value in self.settings().items() if key != "parity"}
        later_sample = [prompt.sample] if (prompt.sample or 1) > 1 else []
        return value_digest([settings, *limit, prompt.text, *later_sample])

    def limit(self, prompt: Prompt) -> int:
        """Most tokens of the answer, those of thinking included: servers count them together."""
        return self.config.eval.longest_answer(prompt.instance.task) + self.config.most_thought

    def call(self, digest: str) -> Call:
        prompt = self.asking[digest][0]
        more = {**self.top_p(), **self.seed(prompt), **model_keys(self.service, self.config.answering_model)}
        about = {"question": self.question(prompt), "limit": self.limit(prompt)}
        return self.service.call(digest, prompt.text, self.limit(prompt), more, about)

    def seed(self, prompt: Prompt) -> dict[str, int]:
        """Seed of the sampling; neither Anthropic's API nor models that take no temperature know one."""
        settled = self.config.temperature == 0 or (self.api is not None and not self.api.takes_temperature)
        if settled or self.service.provider == "anthropic":
            return {}
        return {"seed": seed_of(stream_of(self.config.seed, prompt.instance.task, prompt.key))}

    def finish(self) -> None:
        """Take what is paid for already, ask for the rest, write the rows."""
        saved_rows.begin(self.run, self.asked, self.settings())
        self.paid = PaidAnswers.read(self.run.paid_answers)
        asked = len(self.asking) + (len(self.general.asking) if self.general else 0)
        calls = self.take_paid()
        made = {call.id: call for call in calls}
        if len(calls) < asked:
            log_line(f"{asked - len(calls)} answers are here already")
        tally = self.service.collect_earlier(calls, self.pay, batch_file=self.run.answer_batch)
        if calls := [call for call in self.take_paid() if call.id not in tally.failed]:
            tally.include(self.ask(calls))
        for id in sorted(tally.filtered):
            self.add(made[id], Reply("", 0, 0, "content_filter"))
        saved_rows.keep_only(self.run, self.asked, self.rows)
        names = {digest: named(prompts[0].key) for digest, prompts in self.asking.items()}
        names |= self.general.names() if self.general else {}
        what = "prompts are not answered"
        allowed = self.config.allow_missing
        self.service.say_outcome(tally, names, what, lambda failed: f"{len(failed)} of {asked} {what}", allowed)
        ends = [row.finish_reason for row in self.rows.values()]
        log_line(f"{len(ends)} answers, {endings(ends)}")
        if self.general:
            self.general.finish()

    def take_paid(self) -> list[Call]:
        """Make rows of all that is paid for. Returns the calls that are left, those of general prompts last."""
        left = []
        for digest, prompts in self.asking.items():
            paid = self.paid.find(digest, self.question(prompts[0]), self.limit(prompts[0]))
            if paid is None:
                left.append(self.call(digest))
            else:
                self.take(prompts, paid)
        saved_rows.keep_only(self.run, self.asked, self.rows)
        return left + (self.general.take_paid(self.paid) if self.general else [])

    def ask(self, calls: list[Call]) -> Tally:
        general = self.general.answers if self.general else None
        progress = Progress(len(self.prompts) + (len(general.requests) if general else 0))

        def on_reply(call: Sent, reply: Reply) -> None:
            self.add(call, reply)
            progress(len(self.rows) + (len(general.rows) if general else 0), "answers")

        spent = self.paid.spent(self.service.price() or UNKNOWN_PRICE)
        return self.service.ask(calls, on_reply, spent=spent, batch_file=self.run.answer_batch)

    def add(self, call: Sent, reply: Reply) -> None:
        """Write an answer, first as paid for, then as rows."""
        paid = self.pay(call, reply)
        if self.general and call.id in self.general.asking:
            self.general.add(call.id, paid)
        else:
            saved_rows.append(self.run, self.take(self.asking[call.id], paid))

    def pay(self, call: Sent, reply: Reply) -> PaidAnswer:
        """Write an answer as paid for, whether it is asked for now or not."""
        return self.paid.add(call, reply, self.service.usd(call, reply))

    def split(self, answer: PaidAnswer) -> AnswerParts:
        """Split thought and answer of what is paid for."""
        return split_paid(answer, self.thoughts, self.tokenizer)

    def take(self, prompts: list[Prompt], answer: PaidAnswer) -> list[Prediction]:
        """Make the rows of an answer and keep them in `rows`."""
        found = self.split(answer)
        text, finish_reason = found.text, found.finish_reason
        if self.config.eval.parity == "reference" and (kept := parity.before_stop(text)) != text:
            text, finish_reason = kept, "stop"
        rows = [
            prompt.row(text, finish_reason, answer.output_tokens, self.question(prompt), answer.input_tokens)
            for prompt in prompts
        ]
        rows = [replace(row, thought=found.thought, thought_tokens=found.thought_tokens) for row in rows]
        self.rows.update((row.key, row) for row in rows)
        return rows
