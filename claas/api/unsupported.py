"""Request fields that this server does not support: refused if they would change the answer."""

import logging
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, JsonValue

from claas.core.errors import BadRequest
from claas.core.text import quoted

_log = logging.getLogger(__name__)

_NEUTRAL: Mapping[str, Sequence[JsonValue]] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": (),
    "allowed_token_ids": ([],),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "continue_final_message": (False,),
    "documents": ([],),
    "dry_multiplier": (0,),
    "echo": (False,),
    "enable_thinking": (),
    "extra_body": ({},),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "grammar": ("",),
    "guided_choice": ([],),
    "guided_grammar": ("",),
    "guided_json": (),
    "guided_regex": ("",),
    "ignore_eos": (False,),
    "json_schema": (),
    "length_penalty": (1,),
    "logit_bias": ({}, []),
    "logits_processors": ([],),
    "min_p": (0,),
    "min_tokens": (0,),
    "mirostat": (0,),
    "modalities": (["text"], []),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "presence_penalty": (0,),
    "prompt_logprobs": (0,),
    "reasoning_effort": (),
    "regex": ("",),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "stop_token_ids": ([],),
    "structured_outputs": ({},),
    "suffix": ("",),
    "tfs_z": (1,),
    "thinking": (),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_a": (0,),
    "top_k": (0, -1),
    "truncate_prompt_tokens": (),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "verbosity": (),
    "web_search_options": (),
    "xtc_probability": (0,),
}
"""Fields that change what is answered, each with the values that ask for nothing."""

_ABOUT_ELSE = frozenset({
    "include_reasoning", "metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "safety_identifier",
    "service_tier", "skip_special_tokens", "store", "user",
})  # fmt: skip
"""Fields that do not affect the answer."""

_INSTEAD = {
    "enable_thinking": "write chat_template_kwargs={'enable_thinking': ...}",
    "reasoning_effort": "if the chat template reads it, write chat_template_kwargs={'reasoning_effort': ...}",
    "thinking": "if the chat template can switch it off, write chat_template_kwargs={'enable_thinking': false}",
}
_MOST_NAMES = 100


class UnknownFields:
    """Refuses fields that ask for another answer than can be given, and says of each that means nothing, once, so."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def check(self, request: BaseModel) -> None:
        """Raise `BadRequest` if an unknown field of `request` would change the answer."""
        for name, value in (request.model_extra or {}).items():
            if name in _NEUTRAL:
                _require_neutral(name, value)
            elif len(self._told) < _MOST_NAMES and name not in _ABOUT_ELSE and (said := quoted(name)) not in self._told:
                self._told.add(said)
                _log.warning("a request has the field %s, which means nothing here and is ignored", said)


def _require_neutral(name: str, value: JsonValue) -> None:
    neutral = _NEUTRAL[name]
    if any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral):
        return
    instead = _INSTEAD.get(name) or (f"leave it out, or send {neutral[0]!r}" if neutral else "leave it out")
    raise BadRequest(f"{name}: this would change what is answered and is not supported; {instead}")
