"""How the held-out conversations that ship with the metric were drawn."""

import json
from random import Random

from claas.tiny.corpus.conversation import Message, sample

CONVERSATIONS = 24


def conversations() -> str:
    """The shipped file: a conversation a line, as the chat template writes it, each with a long answer."""
    drawn, chance = list[list[Message]](), Random("held-out text")
    while len(drawn) < CONVERSATIONS:
        turns = sample(chance)
        if len(turns[-1].text) > 200:
            drawn.append(turns)
    texts = ("".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns) for turns in drawn)
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
