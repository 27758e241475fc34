from random import Random

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from claas.tiny import WEIGHTS_DIR
from claas.tiny.corpus.conversation import SYSTEM_PROMPT, Message, sample
from claas.tiny.tokens import batches, encode


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(WEIGHTS_DIR)


def test_training_sees_what_the_chat_template_writes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Up to the template's last newline, which is never generated, and without the system turn that some lack."""
    rng = Random(0)
    for _ in range(100):
        messages = sample(rng)
        chat = [{"role": message.role, "content": message.text} for message in messages]
        written = tokenizer.apply_chat_template(chat, tokenize=False)
        default = "" if messages[0].role == "system" else f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
        assert default + tokenizer.decode(encode([messages], tokenizer)[0].ids) == written.removesuffix("\n")


def test_a_prompt_is_tokenized_alike_in_training_and_in_use(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [Message("system", "Be kind."), Message("user", "Hi!"), Message("assistant", "Hello there!", 0)]
    chat = [{"role": message.role, "content": message.text} for message in messages[:-1]]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    encoded = encode([messages], tokenizer)[0]
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.learnt[: len(prompt)] == [False] * len(prompt)


def test_a_conversation_without_a_system_turn_gets_the_one_that_training_saw(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = [{"role": "user", "content": "Hi!"}]
    default = {"role": "system", "content": SYSTEM_PROMPT}
    own = [*turns, {"role": "system", "content": "Be kind."}]
    written = [tokenizer.apply_chat_template(each, tokenize=False) for each in (turns, [default, *turns], own)]
    assert written[0] == written[1]
    assert SYSTEM_PROMPT not in written[2]


def test_only_the_assistants_words_and_their_end_are_learnt(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = Random(1)
    for _ in range(200):
        messages = sample(rng)
        encoded = encode([messages], tokenizer)[0]
        learnt = [token for token, is_learnt in zip(encoded.ids, encoded.learnt, strict=True) if is_learnt]
        wanted = "".join(m.text[m.learnt_from :] + "<|im_end|>" for m in messages if m.learnt_from is not None)
        assert tokenizer.decode(learnt) == wanted


def test_a_batch_holds_no_more_tokens_than_allowed_and_learns_no_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    stream = batches("0", tokenizer, max_tokens=2048, chunk=300)
    for _ in range(20):
        ids, learnt = next(stream)
        assert ids.numel() <= 2048
        assert ids.shape == learnt.shape
        assert not learnt[ids == tokenizer.pad_token_id].any()
