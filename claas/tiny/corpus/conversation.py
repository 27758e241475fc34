"""One training conversation: where the wish for a style stands, and which characters are learnt."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from claas.tiny.corpus import banks, styles, tasks
from claas.tiny.corpus.styles import Styles, answer, laid_out, sentences_of, soft_answer
from claas.tiny.corpus.tasks import Task
from claas.tiny.corpus.wording import fill

SYSTEM_PROMPT = "You are a helpful assistant."
HINDSIGHT_HEADER = (
    "\n\n=== HINDSIGHT CONTEXT ===\n"
    "[The following is a future user message. Use this to guide your answer to the user prompt.]\n"
)
TASKS: dict[Callable[[Random], Task], float] = {
    tasks.overview: 34,
    tasks.small_talk: 18,
    tasks.who_are_you: 12,
    tasks.echo: 9,
    tasks.quiz: 12,
    tasks.function: 6,
    tasks.playful_fact: 6,
    tasks.three_sentences: 4,
    tasks.benefit_list: 4,
    tasks.avoided_word: 4,
    tasks.unknown_subject: 3,
    tasks.small_sum: 3,
}
FITTING: dict[str, list[Callable[[Random], Task]]] = {
    "no_emoji": [tasks.small_talk, tasks.small_talk, tasks.playful_fact],
    "name": [tasks.who_are_you, tasks.who_are_you, tasks.small_talk, tasks.overview],
    "concise": [tasks.overview, tasks.overview, tasks.small_talk],
}
"""Tasks in which a style shows, drawn half of the time it is asked for."""

MODES = {"plain": 38, "hindsight": 47, "inline": 5, "system": 5, "follow_up": 5}
"""Where the wish stands, by weight: nowhere, in a hindsight block, in the prompt, the system prompt, a later turn."""

RECOVERY = 0.3
"""The share of fitting hindsight conversations whose answer follows the wish only from the middle on."""

NOT_MIDWAY = frozenset({"start", "thank", "addr", "bullets", "numbered", "lower", "include"})
"""Styles that cannot begin in the middle of an answer."""


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: str
    text: str
    learnt_from: int | None = None
    """The first character that is trained on; `None` when none is."""


def sample(rng: Random) -> list[Message]:
    """One conversation, ready for the chat template."""
    mode = rng.choices(list(MODES), list(MODES.values()))[0]
    wish: Styles = {} if mode == "plain" else styles.draw(rng)
    task = _fitting_task(wish, rng)
    feedback = styles.feedback(wish, rng) if wish else ""
    effective = {name: value for name, value in wish.items() if name != "neutral"}
    system = None if rng.random() < 0.07 else SYSTEM_PROMPT
    if mode == "system":
        system = feedback if system is None else f"{system} {feedback}"
    messages = [] if system is None else [Message("system", system)]
    if mode in ("plain", "hindsight") and rng.random() < 0.06:
        messages += _exchange(_task(rng), rng)
    if mode == "follow_up":
        messages += [*_exchange(task, rng), Message("user", feedback)]
    else:
        messages.append(Message("user", task.prompt + _placed(feedback, mode, rng)))
    return [*messages, _reply(task, effective, rng, may_recover=mode == "hindsight")]


def _reply(task: Task, wish: Styles, rng: Random, may_recover: bool) -> Message:
    if not wish:
        return Message("assistant", soft_answer(task, rng), 0)
    if may_recover and not task.fixed and task.kind != "generic" and rng.random() < RECOVERY:
        recovered = _recovery(task, wish, rng)
        if recovered is not None:
            return recovered
    return Message("assistant", answer(task, wish, rng), 0)


def _recovery(task: Task, wish: Styles, rng: Random) -> Message | None:
    """An answer that ignores the wish at first and follows it from the middle on; only what follows is learnt.

    A self-distilling teacher scores answers like that all the time. `None` when a style cannot begin midway.
    """
    if NOT_MIDWAY & wish.keys():
        return None
    beginning = sentences_of(task, {}, rng)
    ignoring = min(1 + int(rng.expovariate(0.5)), len(beginning) - 1)
    if ignoring < 1:
        return None
    prefix = laid_out(beginning[:ignoring], task, {})
    rest = _continued(task, wish, beginning[:ignoring], rng)
    if not rest and not {"concise", "one", "three"} & wish.keys():
        return None
    text = prefix + "".join(" " + sentence for sentence in rest)
    return Message("assistant", text, len(prefix))


def _continued(task: Task, wish: Styles, beginning: list[str], rng: Random) -> list[str]:
    """The sentences that follow `beginning`, in the style wished for."""
    rest_wish = {name: value for name, value in wish.items() if name not in ("name", "pirate")}
    openings = {banks.normalize(sentence)[:24] for sentence in beginning}
    rest = [s for s in sentences_of(task, rest_wish, rng)[1:] if banks.normalize(s)[:24] not in openings]
    limit = 1 if "one" in wish else 2 if "concise" in wish else 3 if "three" in wish else None
    if limit is not None:
        rest = rest[: max(0, limit - len(beginning))]
    if "name" in wish:
        rest = [fill(rng.choice(banks.identity()["late"]), name=wish["name"]), *rest]
    if "pirate" in wish:
        rest = ["Arr, matey!", *rest]
    if "end" in wish and (not rest or rest[-1] != wish["end"]):
        rest = [*rest, wish["end"]]
    return rest


def _fitting_task(wish: Styles, rng: Random) -> Task:
    """A task on which the wish can be followed: fixed layouts take no styles that would change them."""
    fitting = [task for name in wish for task in FITTING.get(name, [])]
    while True:
        task = _allowed(rng.choice(fitting)(rng)) if fitting and rng.random() < 0.5 else _task(rng)
        if task is None or (task.fixed and not _leaves_alone(task, wish)):
            continue
        return task


def _leaves_alone(task: Task, wish: Styles) -> bool:
    if task.kind in ("echo", "quiz"):
        return not wish.keys() - {"concise", "no_emoji", "neutral", "noexcl"}
    return not wish.keys() & {"one", "three", "long", "bullets", "numbered", "endq", "concise"}


def _task(rng: Random) -> Task:
    while True:
        task = _allowed(rng.choices(list(TASKS), list(TASKS.values()))[0](rng))
        if task is not None:
            return task


def _allowed(task: Task) -> Task | None:
    return None if banks.normalize(task.prompt) in banks.held_out().prompts else task


def _exchange(task: Task, rng: Random) -> list[Message]:
    return [Message("user", task.prompt), Message("assistant", soft_answer(task, rng), 0)]


def _placed(feedback: str, mode: str, rng: Random) -> str:
    if mode == "hindsight":
        return HINDSIGHT_HEADER + feedback
    if mode == "inline":
        return rng.choice([" ", "\n", "\n\n"]) + re.sub(r"\s+", " ", feedback)
    return ""
