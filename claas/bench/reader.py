"""lm-eval's requests as tokens: what stands before a text that is scored, and where an answer ends.

Imported only where lm-eval is installed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lm_eval.models.utils import (  # pyright: ignore[reportMissingTypeStubs]  # typed in place
    handle_stop_sequences,
    normalize_gen_kwargs,  # pyright: ignore[reportUnknownVariableType]
    postprocess_generated_text,
)
from lm_eval.utils import (  # pyright: ignore[reportMissingTypeStubs]  # typed in place
    get_rolling_token_windows,
    make_disjoint_window,
)

from claas.bench.model import Tokenizer
from claas.core.errors import InvalidInput

MOST_NEW_TOKENS = 256
"""Of an answer, where the task does not say."""

_MOST_STOPS = 4
"""Stop strings that an API takes; the others are looked for in the text that came."""


Pair = tuple[list[int], list[int]]
"""Tokens, and those that are scored after them."""


@dataclass(frozen=True)
class Wanted:
    """An answer to be written after `ids`; `until` are the task's stop strings, `stop` those that an API takes."""

    ids: list[int]
    max_tokens: int
    stop: list[str]
    until: list[str]

    def cut(self, text: str) -> str:
        """What was written, up to the first stop string."""
        return postprocess_generated_text(text, self.until, None)


@dataclass(frozen=True)
class Reader:
    """A tokenizer, the most tokens of a question with its answer, and variables of the chat template."""

    tokenizer: Tokenizer
    window: int
    template_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text of which every token is scored."""
        begins = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if begins is None else begins

    def chat_text(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model reads it, its last turn left open where that is the assistant's."""
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.template_kwargs,
        )

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """The tokens of a text, which begins once where its chat template has begun it."""
        begins = self.tokenizer.bos_token
        special = not (begins and text.startswith(begins)) if add_special_tokens is None else add_special_tokens
        return self.tokenizer.encode(text, add_special_tokens=special)

    def pair(self, context: str, continuation: str) -> Pair:
        """A context, and what is scored after it; spaces between the two belong to the latter, as tokens have it."""
        if not context:
            ids = self.encode(continuation, add_special_tokens=False)
            return self.fitting(
                *(([self.prefix_token_id], ids) if ids[0] != self.prefix_token_id else (ids[:1], ids[1:]))
            )
        spaces = len(context) - len(context.rstrip())
        before = context[: len(context) - spaces]
        whole, ids = self.encode(context + continuation), self.encode(before)
        return self.fitting(ids, whole[len(ids) :])

    def fitting(self, context: Sequence[int], continuation: Sequence[int]) -> Pair:
        """What does not fit the window is cut from the beginning."""
        room = self.window - len(continuation)
        return list(context[-room:]) if room > 0 else [], list(continuation[-self.window :])

    def windows(self, text: str) -> list[Pair]:
        """A whole text in parts that are read one by one, so that each of its tokens is scored once."""
        found = get_rolling_token_windows(self.encode(text), self.prefix_token_id, self.window - 1, 1)
        return [make_disjoint_window(window) for window in found]

    def wanted(self, context: str, asked: Mapping[str, Any]) -> Wanted:
        """A greedy answer; what a long context leaves of the window is what it may have, but half of it at least."""
        settings = cast(dict[str, Any], normalize_gen_kwargs(dict(asked), MOST_NEW_TOKENS))
        if settings.get("do_sample"):
            raise InvalidInput("this task draws its answers at random; only greedy ones are asked for")
        until = handle_stop_sequences(settings.get("until"), eos=self.tokenizer.eos_token)
        longest: int = settings["max_gen_toks"]
        ids = self.encode(context)[-(self.window - min(longest, self.window // 2)) :]
        stop = [each for each in until if each][:_MOST_STOPS]
        return Wanted(ids, min(longest, self.window - len(ids)), stop, until)
