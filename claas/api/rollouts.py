"""The answers this API gave, as sampled, so that feedback on one trains on exactly its tokens."""

import hashlib
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from claas.api.journal import Journal
from claas.api.prompts import GAP, FittedPrompt, last_user_text
from claas.core.concurrency import TEXT_THREADS
from claas.core.errors import StackError
from claas.core.text import visible_key
from claas.engines.types import Sample, SamplingParams
from claas.wire.feedback import Rollout, Sampling

_MOST_LOOKED_AT = 1000
"""How many answers with the same text are searched for the one to a prompt."""


class RolloutStore:
    """The newest `capacity` answers, found by id or by their visible text; survives a restart."""

    def __init__(self, path: Path, capacity: int) -> None:
        self._journal = Journal(path, capacity, _keys)

    async def record(self, prompt: FittedPrompt, params: SamplingParams, sample: Sample) -> Rollout:
        """Record one answer to `prompt`, sampled with `params`.

        It outlives a power cut when this returns, so that a client may name it in feedback later. Answers
        recorded at the same time share one fsync.
        """
        if not all(math.isfinite(logprob) for logprob in sample.logprobs):
            raise StackError(f"{sample.weights.name} sampled a token whose log probability is not a number")
        rollout = Rollout(
            id=f"rollout-{uuid4().hex}",
            created=time.time(),
            model=sample.weights.name,
            lora_id=sample.weights.lora_id,
            version=sample.weights.version,
            digest=sample.weights.digest,
            messages=[dict(turn) for turn in prompt.messages],
            text=sample.text,
            finish_reason=sample.finish_reason,
            prompt_ids=list(sample.prompt_ids),
            token_ids=list(sample.token_ids),
            logprobs=list(sample.logprobs),
            mean_entropy=sample.mean_entropy,
            sampling=Sampling(
                temperature=params.temperature, top_p=params.top_p, seed=params.seed, max_tokens=params.max_tokens
            ),
            truncated_prompt_tokens=prompt.dropped_tokens,
            opens_thinking=prompt.opens_thinking,
            chat_template_kwargs=dict(prompt.messages.template_kwargs),
        )
        await self._journal.append(rollout.model_dump_json().encode())
        return rollout

    async def with_id(self, rollout_id: str) -> Rollout | None:
        """The answer with this id, or None."""
        return await self._latest(_id_key(rollout_id), lambda _: True)

    async def that_showed(self, text: str, prompt: str | None = None, model: str | None = None) -> Rollout | None:
        """The latest answer that reads like `text`, to `prompt` and by the weights `model` where those are named.

        One given to exactly this prompt comes first, then one that `is_answer_to` it.
        """
        shown = await TEXT_THREADS.run(visible_key, text)

        def by_model(rollout: Rollout) -> bool:
            return model is None or rollout.model == model

        if prompt is None:
            return await self._latest(_text_key(shown), by_model)
        key = await TEXT_THREADS.run(_prompt_key, shown, prompt)
        return await self._latest(key, by_model) or await self._latest(
            _text_key(shown), lambda rollout: by_model(rollout) and is_answer_to(prompt, rollout)
        )

    async def answered_by(self, lora_id: str, text: str, prompt: str) -> Rollout | None:
        """The answer that reads like `text`, given to `prompt` by this adapter or by the base model.

        The latest one given to exactly this prompt, else the latest that `is_answer_to` it.
        """
        shown = await TEXT_THREADS.run(visible_key, text)
        key = await TEXT_THREADS.run(_prompt_key, shown, prompt)
        return await self._by(lora_id, key, lambda _: True) or await self._by(
            lora_id, _text_key(shown), lambda rollout: is_answer_to(prompt, rollout)
        )

    async def answered_more(self, lora_id: str, text: str, prompt: str) -> Rollout | None:
        """The latest answer by this adapter or the base model that reads like `text`, to more than this `prompt`."""
        shown = await TEXT_THREADS.run(visible_key, text)
        return await self._by(lora_id, _text_key(shown), lambda rollout: is_part_of(prompt, rollout))

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._journal.close()

    async def _by(self, lora_id: str, key: str, fits: Callable[[Rollout], bool]) -> Rollout | None:
        """The newest answer under `key` that fits, of this adapter or else of the base model."""
        for owner in (lora_id, None):
            if found := await self._latest(key, lambda rollout, by=owner: rollout.lora_id == by and fits(rollout)):
                return found
        return None

    async def _latest(self, key: str, fits: Callable[[Rollout], bool]) -> Rollout | None:
        """The newest answer under `key` that fits, among the newest of those; a model may say one thing for ever."""
        newest = await self._journal.find_all(key, _MOST_LOOKED_AT)
        return await TEXT_THREADS.run(_first, newest, fits) if newest else None


def _first(lines: Sequence[bytes], fits: Callable[[Rollout], bool]) -> Rollout | None:
    return next((rollout for rollout in map(Rollout.model_validate_json, lines) if fits(rollout)), None)


def _keys(line: bytes) -> tuple[str, ...]:
    rollout = Rollout.model_validate_json(line)
    shown = visible_key(rollout.content)
    return _id_key(rollout.id), _text_key(shown), _prompt_key(shown, last_user_text(rollout.messages))


def _id_key(rollout_id: str) -> str:
    return f"id {rollout_id}"


def _text_key(shown: str) -> str:
    return f"text {shown}"


def _prompt_key(shown: str, prompt: str) -> str:
    return f"prompt {shown} {hashlib.sha256(_single_spaced(prompt).encode()).hexdigest()}"


_NOTES = re.compile(r"\s*(?:(?:\[[^\[\]]*\]|<[^<>]*>)\s*)*")
"""`[Fri 21:58 UTC]`, `<message>` and the like."""


def is_answer_to(prompt: str, rollout: Rollout) -> bool:
    """Whether who wrote `prompt` got this answer: that is the last user turn, white space aside, or stands out in it.

    A gateway may put something around what a person wrote: lines before it, and notes in brackets before and behind it.
    Of a turn that was cut to fit the window, its beginning and its end are what has to agree.
    """
    asked, turn = _single_spaced(prompt), last_user_text(rollout.messages)
    if asked == _single_spaced(turn):
        return True
    if rollout.truncated_prompt_tokens and GAP in turn:
        head, tail = map(_single_spaced, turn.split(GAP, 1))
        return len(asked) > len(head) + len(tail) and asked.startswith(head) and asked.endswith(tail)
    lines = "\n".join(filter(None, map(_single_spaced, turn.splitlines())))
    spaced = lines.replace("\n", " ")
    ends = [spaced.find(asked) + len(asked)] if asked in spaced else []
    if spaced.endswith(asked):
        ends.append(len(spaced))
    return any(
        _NOTES.fullmatch(lines[: end - len(asked)].rpartition("\n")[2]) and _NOTES.fullmatch(lines[end:])
        for end in ends
    )


def is_part_of(prompt: str, rollout: Rollout) -> bool:
    """Whether `prompt` is found in what this answered; that alone says nothing: `a` is a part of nearly every text."""
    return _single_spaced(prompt) in _single_spaced(last_user_text(rollout.messages))


def _single_spaced(text: str) -> str:
    return " ".join(text.split())
