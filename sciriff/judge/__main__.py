"""Have a judge rate the answers that no formula can score: adds rows to judgements/<task>.jsonl, pays for none twice.

The key of a row is the digest of what was asked and of whom. What is there already, from an earlier start or for
another instance with the very same prompt, is not asked again; a stage that was killed goes on from its last row.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sciriff import judgements
from sciriff.api.batch import Batches, read_state
from sciriff.api.limits import Budget, Pacer, Price
from sciriff.api.openai import Call, Reply, Tally, ask_all, chat_call
from sciriff.config import Config, JudgeConfig
from sciriff.digest import value_digest
from sciriff.judge import access
from sciriff.judge.prompts import judge_prompt
from sciriff.judge.recorded import FILE, recorded_file, recorded_responses
from sciriff.judge.rows import Question, Rows
from sciriff.judgements import Asked
from sciriff.predictions import Answer, TaskAnswers, read_predictions, some
from sciriff.progress import Progress
from sciriff.run_dir import RunDir
from sciriff.stage import run_stage
from sciriff.tasks import HELD_OUT
from sciriff.tasks.task import Task

UNKNOWN_PRICE = Price(0, 0)
RECORDED = "recorded responses"
"""The name of the judge of recorded responses, which do not say who it was."""


@dataclass(frozen=True)
class Judged:
    """What is to be judged of one task."""

    task: Task
    found: TaskAnswers
    questions: list[Question]
    missing: int = 0
    """Answers that are rated without being asked about."""

    def asked(self) -> Asked:
        """What score.py reads to find the rows of these answers among all rows."""
        answers = ((answer.instance_id, answer.prediction) for answer in self.found.answers)
        prompts = {question.instance_id: question.digest for question in self.questions}
        return Asked(judgements.answers_digest(answers), prompts)


def main(config: Config, run: RunDir) -> None:
    """The stage: what is to be judged, what of it is judged already, what the rest costs, and the rest."""
    if config.judge.provider == "none":
        raise ValueError(f"{run.config}: this run has no judge; choose one with judge=openai, local or recorded")
    if found := list(access.problems(config.judge)):
        raise ValueError(found[0])
    with alone(run):
        judge_answers(config, run)


@contextlib.contextmanager
def alone(run: RunDir) -> Iterator[None]:
    """Hold the run against a second judge, which would ask and pay for the same. ValueError where there is a first."""
    with run.judge_lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run.root}: another judge is at work on this run, and two would pay twice") from None
        yield


def judge_answers(config: Config, run: RunDir) -> None:
    """Add a row for every answer that is to be judged and has none."""
    folder = Path(config.predictions) if config.predictions else run.predictions
    answers = read_predictions(folder, config.eval.tasks, config.allow_missing)
    judged = [(task, answers[task.name]) for task in HELD_OUT if task.judged is not None and task.name in answers]
    if config.judge.asks:
        ask_judge(config, run, [prepared(config, task, found) for task, found in judged])
    else:
        take_recorded(Path(config.judge.path or ""), run, judged)


def take_recorded(folder: Path, run: RunDir, judged: list[tuple[Task, TaskAnswers]]) -> None:
    """Rows from the responses that a judge of another run left in a folder."""
    rows, asked = Rows.read(run), {}
    for task, found in judged:
        path = recorded_file(folder, task.name)
        if path is None:
            print(f"{task.name}: there is no {FILE} for it below {folder}", flush=True)
            continue
        chosen = sampled(task, found)
        responses = recorded_responses(path)
        if len(responses) != len(chosen):
            raise ValueError(
                f"{path}: {len(responses)} responses, but {len(chosen)} of these answers are judged; "
                "they are of another set of answers"
            )
        questions = [
            Question(task, answer.instance_id, value_digest([RECORDED, answer.instance_id, text]), text)
            for answer, text in zip(chosen, responses, strict=True)
        ]
        for question in questions:
            if not rows.has(question):
                rows.add(question, RECORDED, Reply(question.text, 0, 0), usd=0)
        one = Judged(task, found, questions)
        asked[task.name] = one.asked()
        say_counts(one, rows)
    judgements.write_asked(run.asked_of_judge, asked)


def sampled(task: Task, found: TaskAnswers) -> list[Answer]:
    """Those answers that a judge sees."""
    assert task.judged is not None
    return [found.answers[place] for place in task.judged.rule.sample(len(found.answers))]


def prepared(config: Config, task: Task, found: TaskAnswers) -> Judged:
    """The questions about one task's answers."""
    chosen = sampled(task, found)
    texts = [judge_prompt(task, answer, config.eval.parity == "reference") for answer in chosen]
    questions = [
        make_question(config.judge, task, answer, text)
        for answer, text in zip(chosen, texts, strict=True)
        if text is not None
    ]
    return Judged(task, found, questions, texts.count(None))


def ask_judge(config: Config, run: RunDir, judged: list[Judged]) -> None:
    """Rows from a server. ValueError where the cap on the price forbids it, or some answers stay without a rating."""
    judge, rows = config.judge, Rows.read(run)
    model = judge.model or ""
    judgements.write_asked(run.asked_of_judge, {one.task.name: one.asked() for one in judged})
    questions = [question for one in judged for question in one.questions]
    share_rows(questions, model, rows)
    unanswered: dict[str, Question] = {}
    for question in questions:
        if not rows.has(question):
            unanswered.setdefault(question.digest, question)
    limit_name = "max_completion_tokens" if judge.provider == "openai" else "max_tokens"
    calls = [
        chat_call(digest, model, question.text, judge.max_tokens, limit_name, judge.temperature)
        for digest, question in unanswered.items()
    ]
    progress = Progress(len(calls))
    done, price = 0, access.price(judge)

    def on_reply(call: Call, reply: Reply) -> None:
        nonlocal done
        usd = None if price is None else round(price.of(reply.input_tokens, reply.output_tokens), 9)
        rows.add(unanswered[call.id], model, reply, usd)
        done += 1
        progress(done, "judged")

    tally = Tally()
    if calls or read_state(run.judge_batch) is not None:
        tally = make_calls(judge, run, calls, rows, on_reply)
    share_rows(questions, model, rows)
    for one in judged:
        say_counts(one, rows)
    if tally.retries:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(tally.retries.items()))
        print(f"calls that were made again: {reasons}", flush=True)
    say_failures(tally, {question.digest: question.instance_id for question in questions}, judge, config.allow_missing)


def make_question(judge: JudgeConfig, task: Task, answer: Answer, text: str) -> Question:
    """The question with its digest: of the prompt, the judge's name and its temperature, not of where it is served."""
    return Question(task, answer.instance_id, value_digest([judge.model, judge.temperature, text]), text)


def share_rows(questions: list[Question], judge: str, rows: Rows) -> None:
    """Give an instance without a row the response to the very same prompt of another."""
    for question in questions:
        row = rows.by_digest.get(question.digest)
        if row is not None and not rows.has(question):
            rows.add(question, judge, Reply(row.response, 0, 0), usd=0)


def make_calls(
    judge: JudgeConfig, run: RunDir, calls: list[Call], rows: Rows, on_reply: Callable[[Call, Reply], None]
) -> Tally:
    """Say what the calls cost, then make them. ValueError where judge.max_usd does not allow them."""
    known = access.price(judge)
    price = known or UNKNOWN_PRICE
    spent = rows.spent(judge.model or "", price)
    most = sum(call.most(price) for call in calls)
    before = f"{dollars(spent)} spent before"
    cost = f"{dollars(most)} at most by estimate, {before}" if known else f"at a price not known here, {before}"
    print(
        f"{judge.model}: {len(calls)} calls, about {sum(call.input_tokens for call in calls):,} tokens of prompts and "
        f"at most {sum(call.longest for call in calls):,} of responses: {cost}",
        flush=True,
    )
    server, state = access.endpoint(judge), read_state(run.judge_batch)
    if not judge.batch:
        if state is not None:
            raise ValueError(
                f"{run.judge_batch}: the batch {state.batch or 'of an earlier start'} is under way and would be paid "
                "twice: go on with judge.batch=true, or cancel it at the server and remove that file"
            )
        check_cap(judge, spent + most)
        return ask_all(
            server,
            calls,
            on_reply,
            price=price,
            budget=Budget(judge.max_usd, spent),
            pacer=Pacer(judge.requests_per_minute),
            at_once=judge.max_concurrency,
            attempts=judge.attempts,
            say=say,
        )
    batches = Batches(server, run.judge_batch, judge.attempts, judge.poll_seconds, say)
    under_way = batches.resume()
    if under_way is None and calls:
        check_cap(judge, spent + most)
        under_way = batches.submit(calls)
    tally = Tally()
    if under_way is not None:
        batches.collect(under_way, calls, on_reply, tally)
    return tally


def say(line: str) -> None:
    """Print a line for the log."""
    print(line, flush=True)


def dollars(usd: float) -> str:
    """Cents, or the first digit that is not 0."""
    return f"${usd:.2f}" if usd == 0 or usd >= 0.005 else f"${usd:.1g}"


def check_cap(judge: JudgeConfig, usd: float) -> None:
    """ValueError where all that is judged, and was, may cost more than it may."""
    if judge.max_usd is not None and usd > judge.max_usd:
        raise ValueError(
            f"judging may cost {dollars(usd)} in all, more than judge.max_usd={judge.max_usd:g}: raise it, or choose a "
            "cheaper judge.model or (at half the price) judge.batch=true"
        )


def say_counts(one: Judged, rows: Rows) -> None:
    """One line: how many answers of how many were judged, and what could not be."""
    assert one.task.judged is not None
    rows_of_it = [rows.by_digest[question.digest] for question in one.questions if rows.has(question)]
    unreadable = sum(row.rating is None for row in rows_of_it)
    chosen, answers = len(one.questions) + one.missing, len(one.found.answers)
    parts = [f"{len(rows_of_it)} of {chosen} answers judged"]
    if chosen < answers:
        parts[0] += f", a sample of {answers}"
    rule = one.task.judged.rule
    if one.missing:
        parts.append(f"{one.missing} missing, rated {rule.missing_answer} without a call")
    if unreadable:
        counted = "left out of the mean" if rule.unreadable is None else f"counted as {rule.unreadable}"
        parts.append(f"{unreadable} unreadable in the response, {counted}")
    print(f"{one.task.name}: {'; '.join(parts)}", flush=True)


def say_failures(tally: Tally, instances: dict[str, str], judge: JudgeConfig, allow_missing: bool) -> None:
    """ValueError for calls without an answer; under `allow_missing` a printed line, where asking again is no use."""
    if tally.unasked:
        lost = f" ({tally.uncertain} calls that brought no answer count at the most they can cost)"
        raise ValueError(
            f"judge.max_usd={judge.max_usd:g} is used up{lost if tally.uncertain else ''} and {tally.unasked} answers "
            "are not judged; what was paid for is kept, and a higher judge.max_usd goes on from there"
        )
    if not tally.failed:
        return
    digest, reason = next(iter(tally.failed.items()))
    text = f"{some([instances[digest] for digest in tally.failed])} not judged; {instances[digest]}: {reason}"
    if not allow_missing:
        raise ValueError(f"{text}. The rest is kept; run again to ask for these, or allow_missing=true does without")
    print(text, flush=True)


if __name__ == "__main__":
    run_stage(main)
