"""Have a judge rate the answers that no formula can score: adds rows to judgements/<task>.jsonl, pays for none twice.

The key of a row is the digest of the prompt and the judge. Rows of an earlier start, or of another instance with the
same prompt, are not asked again; a killed stage resumes from its last row.
"""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sciriff.config import Config
from sciriff.data import judgements
from sciriff.data.judgements import AskedOfJudge
from sciriff.data.records import named
from sciriff.data.saved_answers import SavedAnswer, TaskAnswers, read_predictions, some
from sciriff.judge.prompts import judge_prompt
from sciriff.judge.questions import Question, Rows, was_cut
from sciriff.judge.recorded import FILE, recorded_file, recorded_responses
from sciriff.models.api.calls import Call, Reply, Sent
from sciriff.models.api.service import UNKNOWN_PRICE, judge_problems, judging_service
from sciriff.run.digest import value_digest
from sciriff.run.finish_reasons import NO_CONTENT
from sciriff.run.locks import hold_or_refuse
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import run_stage
from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import names_of
from sciriff.tasks.task import Task

RECORDED = "recorded responses"
"""Name of the judge of recorded responses, which do not name it."""
FILTERED = "content_filter"
"""Finish reason of a question that the provider's filter blocks; it is not asked again."""


@dataclass(frozen=True)
class JudgedTask:
    """One task's answers and the questions about them."""

    task: Task
    predictions: TaskAnswers
    questions: list[Question]
    missing: int = 0
    """Answers that are rated without a question."""

    def asked(self) -> AskedOfJudge:
        """The entry of asked.json, by which scoring finds the rows of these answers."""
        answers = ((answer.instance_id, answer.sample, answer.prediction) for answer in self.predictions.answers)
        prompts = {question.answer.key: question.digest for question in self.questions}
        return AskedOfJudge(judgements.answers_digest(answers), prompts)


def main(config: Config, run: RunDir) -> None:
    """Add a row for every answer that is to be judged and has none."""
    if config.judge.provider == "none":
        raise UserError(
            f"{run.config}: this run has no judge; add judge=openai, local or recorded to the command that made it"
        )
    if problems := list(judge_problems(config.judge)):
        raise UserError(problems[0])
    with hold_or_refuse(run.judge_lock, f"{run.root}: another judge is at work on this run, and two would pay twice"):
        folder = Path(config.predictions) if config.predictions else run.predictions
        held_out, wanted = names_of(config.eval.held_out), config.predictions_filter
        answers = read_predictions(folder, config.eval.tasks, config.allow_missing, held_out, wanted)
        judged = [(task, answers[task.name]) for task in HELD_OUT if task.judged is not None and task.name in answers]
        if config.judge.asks:
            ask_judge(config, run, [prepared(config, task, predictions) for task, predictions in judged])
        else:
            take_recorded(Path(config.judge.path or ""), run, judged)


def take_recorded(folder: Path, run: RunDir, judged: list[tuple[Task, TaskAnswers]]) -> None:
    """Add rows for the responses that a judge of another run left in a folder."""
    rows, asked = Rows.read(run, limit=0), {}
    for task, predictions in judged:
        path = recorded_file(folder, task.name)
        if path is None:
            show(f"{task.name}: there is no {FILE} for it below {folder}")
            continue
        chosen = sampled(task, predictions)
        responses = recorded_responses(path)
        if len(responses) != len(chosen):
            raise UserError(
                f"{path}: {len(responses)} responses, but {len(chosen)} of these answers are judged; "
                "they belong to another set of answers"
            )
        questions = [
            Question(task, answer, value_digest([RECORDED, answer.instance_id, text]), text)
            for answer, text in zip(chosen, responses, strict=True)
        ]
        for question in questions:
            if not rows.has(question):
                rows.add(question.digest, question.about, RECORDED, Reply(question.text, 0, 0), usd=0)
        judged_task = JudgedTask(task, predictions, questions)
        asked[task.name] = judged_task.asked()
        say_counts(judged_task, rows)
    judgements.write_asked(run.asked_of_judge, asked)


def sampled(task: Task, predictions: TaskAnswers) -> list[SavedAnswer]:
    """Answers that the judge sees: every sample of the drawn instances."""
    assert task.judged is not None
    drawn = predictions.drawn(task.judged.rule.sample)
    return [answer for answer in predictions.answers if answer.instance_id in drawn]


def prepared(config: Config, task: Task, predictions: TaskAnswers) -> JudgedTask:
    """Questions about one task's answers. Their digest does not depend on where the judge is served."""
    chosen = sampled(task, predictions)
    texts = [judge_prompt(task, answer, config.eval.parity == "reference") for answer in chosen]
    questions = [
        Question(task, answer, value_digest([config.judge.model, config.judge.temperature, text]), text)
        for answer, text in zip(chosen, texts, strict=True)
        if text is not None
    ]
    return JudgedTask(task, predictions, questions, texts.count(None))


def ask_judge(config: Config, run: RunDir, tasks: list[JudgedTask]) -> None:
    """Add rows from a server. UserError if the cap on the price is reached or some answers get no rating."""
    judge, rows = config.judge, Rows.read(run, config.judge.max_tokens)
    model = judge.model or ""
    judgements.write_asked(run.asked_of_judge, {judged.task.name: judged.asked() for judged in tasks})
    questions = [question for judged in tasks for question in judged.questions]
    service = judging_service(judge)

    def add(call: Sent, reply: Reply) -> None:
        rows.add(call.id, call.about, call.model, reply, service.usd(call, reply))

    def left() -> list[Call]:
        share_rows(questions, model, rows)
        first: dict[str, Question] = {}
        for question in questions:
            if not rows.has(question):
                first.setdefault(question.digest, question)
        about = {id: {**question.about, "limit": judge.max_tokens} for id, question in first.items()}
        return [service.call(id, question.text, judge.max_tokens, about=about[id]) for id, question in first.items()]

    tally = service.collect_earlier(left(), add, batch_file=run.judge_batch)
    if calls := [call for call in left() if call.id not in tally.failed]:
        progress, done = Progress(len(calls)), count(1)

        def on_reply(call: Sent, reply: Reply) -> None:
            add(call, reply)
            progress(next(done), "judged")

        spent = rows.spent(model, service.price() or UNKNOWN_PRICE)
        tally.include(service.ask(calls, on_reply, spent=spent, batch_file=run.judge_batch))
    for question in questions:
        if question.digest in tally.filtered:
            rows.add(question.digest, question.about, model, Reply("", 0, 0, FILTERED), usd=0)
    share_rows(questions, model, rows)
    for judged in tasks:
        say_counts(judged, rows)
    names = {question.digest: named(question.answer.key) for question in questions}
    service.say_outcome(
        tally, names, "answers are not judged", lambda failed: f"{some(failed)} not judged", config.allow_missing
    )


def share_rows(questions: list[Question], judge: str, rows: Rows) -> None:
    """Copy the response to the same prompt for answers without a row."""
    for question in questions:
        row = rows.response(question.digest)
        if row is not None and not rows.has(question):
            about = {**question.about, "limit": row.limit}
            rows.add(question.digest, about, judge, Reply(row.response, 0, 0, row.finish_reason), usd=0)


def say_counts(judged: JudgedTask, rows: Rows) -> None:
    """Print how many answers were judged, and what could not be, in a line."""
    assert judged.task.judged is not None
    judgements_of_task = [rows.by_digest[question.digest] for question in judged.questions if rows.has(question)]
    unreadable = sum(row.rating is None for row in judgements_of_task)
    limits = [row.limit for row in judgements_of_task if was_cut(row)]
    filtered = sum(row.finish_reason == FILTERED and not row.response for row in judgements_of_task)
    empty = sum(row.finish_reason == NO_CONTENT for row in judgements_of_task)
    chosen, answers = len(judged.questions) + judged.missing, len(judged.predictions.answers)
    parts = [f"{len(judgements_of_task)} of {chosen} answers judged"]
    if chosen < answers:
        parts[0] += f", a sample of {answers}"
    rule = judged.task.judged.rule
    if judged.missing:
        parts.append(f"{judged.missing} missing, rated {rule.missing_answer} without a call")
    if unreadable:
        counted = "left out of the mean" if rule.unreadable is None else f"counted as {rule.unreadable}"
        parts.append(f"{unreadable} unreadable in the response, {counted}")
    if limits:
        most = max(limit or 0 for limit in limits)
        parts.append(f"{len(limits)} of these ran into judge.max_tokens={most}, and a larger one asks for them again")
    if filtered:
        parts.append(f"{filtered} of these held back by a filter of the provider")
    if empty:
        parts.append(f"{empty} of these ended without a word of text")
    show(f"{judged.task.name}: {'; '.join(parts)}")


if __name__ == "__main__":
    run_stage(main, asks="judge")
