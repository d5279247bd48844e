"""The general prompts among those that a server is asked: their calls, and rows of what is paid for."""

from collections.abc import Callable
from dataclasses import replace

from sciriff.config import Config
from sciriff.data.general_rows import GeneralRequest
from sciriff.models.answer_parts import AnswerParts
from sciriff.models.api.calls import Call
from sciriff.models.api.service import Service, log_line
from sciriff.models.engines.sampling import seed_of, stream_of
from sciriff.predict.general_answers import GeneralAnswers, cut_at_stop, read_asked
from sciriff.predict.paid_answers import PaidAnswer, PaidAnswers, endings, model_keys, server_settings
from sciriff.run.digest import value_digest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


class GeneralPrompts:
    """The general prompts of a run and their answers. What is paid for is the whole answer; stop strings, which not
    every server takes, cut the row that is made of it."""

    def __init__(
        self, config: Config, run: RunDir, service: Service, split: Callable[[PaidAnswer], AnswerParts]
    ) -> None:
        """UserError if the prompts are not there, or are none for a server."""
        self.service = service.greedy()
        self.config = config
        self.api = config.answering_model.api
        self.split = split
        self.settings = server_settings(self.service, config.answering_model)
        made_with = value_digest(self.settings)
        self.answers = GeneralAnswers(run, read_asked(run), made_with, config.most_thought)
        self.asking: dict[str, list[str]] = {}
        """Digest of what is paid for -> digests of its prompts, which differ in their stop strings alone."""
        for digest, request in self.answers.requests.items():
            if not request.messages:
                raise UserError(
                    f"{run.general_requests}: the prompt of document {request.doc_id} of {request.task} is not for a "
                    "server; run the stages predict and general again"
                )
            self.asking.setdefault(self.paid_digest(request), []).append(digest)

    def paid_digest(self, request: GeneralRequest) -> str:
        """Key of an answer: the same conversation, with the same limit, under the same settings."""
        config = self.config
        thinking = [config.most_thought] if config.eval.thinking_tokens and config.most_thought else []
        return self.question(request, request.limit, *thinking)

    def question(self, request: GeneralRequest, *limit: int) -> str:
        """Digest of the same without the limit, under which an answer that did not run into its own is no other."""
        turns = [[message.role, message.content] for message in request.messages]
        return value_digest(["general", self.settings, *limit, turns])

    def first(self, id: str) -> GeneralRequest:
        """The prompt that stands for those with the same key of an answer."""
        return self.answers.requests[self.asking[id][0]]

    def limit(self, request: GeneralRequest) -> int:
        """Most tokens of the answer, those of thinking included: servers count them together."""
        return request.limit + self.config.most_thought

    def call(self, id: str) -> Call:
        request = self.first(id)
        more = {**self._seed(id), **model_keys(self.service, self.config.answering_model)}
        about = {"question": self.question(request), "limit": self.limit(request)}
        return self.service.call(id, request.messages, self.limit(request), more, about)

    def _seed(self, id: str) -> dict[str, int]:
        """Seed for a server that samples at a temperature of its own; models that take none know no seed, either."""
        settled = self.service.server.temperature == 0 or (self.api is not None and not self.api.takes_temperature)
        if settled or self.service.provider == "anthropic":
            return {}
        return {"seed": seed_of(stream_of(self.config.seed, "general", (id, 1)))}

    def names(self) -> dict[str, str]:
        """Key of an answer -> its prompt, for messages."""
        firsts = {id: self.first(id) for id in self.asking}
        return {id: f"document {request.doc_id} of {request.task}" for id, request in firsts.items()}

    def take_paid(self, paid: PaidAnswers) -> list[Call]:
        """Make rows of all that is paid for. Returns the calls that are left."""
        left = []
        for id, digests in self.asking.items():
            if all(digest in self.answers.rows for digest in digests):
                continue
            request = self.first(id)
            answer = paid.find(id, self.question(request), self.limit(request))
            if answer is None:
                left.append(self.call(id))
            else:
                self.add(id, answer)
        return left

    def add(self, id: str, answer: PaidAnswer) -> None:
        """Write the rows of an answer that is paid for."""
        rows = []
        found = self.split(answer)
        for digest in self.asking[id]:
            request = self.answers.requests[digest]
            text, finish_reason = cut_at_stop(found.text, request.stops), found.finish_reason
            if finish_reason is None:  # some servers do not say
                finish_reason = "length" if answer.output_tokens >= self.limit(request) else "stop"
            if text != found.text:
                finish_reason = "stop"
            row = self.answers.row(digest, finish_reason, text=text, output_tokens=answer.output_tokens)
            row = replace(row, thought=found.thought, thought_tokens=found.thought_tokens)
            if digest not in self.answers.rows:
                rows.append(row)
        self.answers.add(rows)

    def finish(self) -> None:
        """Write the answers in their order and say what became of them."""
        self.answers.finish()
        ends = [row.finish_reason for row in self.answers.rows.values()]
        log_line(f"{len(ends)} answers to general prompts, {endings(ends)}")
