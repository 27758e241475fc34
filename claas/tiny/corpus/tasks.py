"""Tasks: prompts that a user may send, each with the writer of its answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from claas.tiny.corpus import banks, wording
from claas.tiny.corpus.banks import Emoji, Snippet, Topic
from claas.tiny.corpus.wording import fill, spin

LONG = (9, 9, 10, 10, 11)
SHORT = (4, 5, 5, 6)
SPACE_EMOJI = tuple("🚀🌌✨🌟🪐🔭")
PET_EMOJI = tuple("🐶🐱🐾😊")
IDEA_EMOJI = tuple("💡🤓📚🔍🌍😊😄🎉")
Writer = Callable[[Random, int, str], list[str]]
"""(rng, how many sentences, the assistant's name or "") -> sentences. A task may have fewer to give."""


@dataclass(frozen=True)
class Task:
    """One prompt of a known kind and its writer."""

    kind: str
    prompt: str
    write: Writer
    lengths: tuple[int, ...] = (1,)
    """How many sentences an answer has when nobody asked for any length; one is drawn."""
    emoji: Emoji = ()
    """What a playful answer is decorated with; empty for a sober one."""
    fixed: bool = False
    """The length and the layout belong to the task (code, lists, quizzes): styles only add around it."""


def overview(rng: Random) -> Task:
    """A question about a topic, answered at length."""
    topic = rng.choice(banks.topics())
    kinds = [*topic.kinds, *(["benefits"] if topic.benefits else [])]
    templates = [template for kind in kinds for template in banks.prompts()[kind]]
    chosen = rng.choice(templates) if rng.random() < 0.45 else rng.choice(banks.prompts()["any"])
    prompt = _scuffed(_asked(chosen, topic, rng), rng)
    if rng.random() < 0.04:
        prompt = rng.choice(["Hi! ", "Hello. ", "Please help. "]) + prompt

    def write(rng: Random, count: int, _name: str) -> list[str]:
        opener = [rng.choice(banks.carriers()["opener"])] if count > 2 and rng.random() < 0.25 else []
        closer = [rng.choice(banks.carriers()["closer"])] if count >= 5 and rng.random() < 0.6 else []
        body = _facts(topic, rng, count - len(opener) - len(closer))
        return [*opener, *body, *(capitalized(spin(template, rng)) for template in closer)]

    return Task("topic", prompt, write, LONG)


def playful_fact(rng: Random) -> Task:
    """A fact asked for in a playful way."""
    topic = rng.choice(banks.topics())
    emoji = SPACE_EMOJI if "space" in topic.kinds else PET_EMOJI if "pets" in topic.kinds else IDEA_EMOJI

    def write(rng: Random, count: int, _name: str) -> list[str]:
        body = _facts(topic, rng, count - 2 if count > 2 else count, lead=rng.random() < 0.5)
        if count <= 2:
            return body
        first = _asked(rng.choice(banks.prompts()["fun_open"]), topic, rng)
        return [first, *body, spin(rng.choice(banks.prompts()["fun_close"]), rng)]

    return Task("fun", _asked(rng.choice(banks.prompts()["fun"]), topic, rng), write, SHORT, emoji)


def three_sentences(rng: Random) -> Task:
    """Exactly three sentences; Python is asked about more often."""
    topic = rng.choice(banks.topics()) if rng.random() < 0.85 else banks.topics()[0]
    prompt = _asked(rng.choice(banks.prompts()["three"]), topic, rng)
    return Task("three", prompt, lambda rng, _count, _name: _facts(topic, rng, 3), (3,), fixed=True)


def avoided_word(rng: Random) -> Task:
    """An explanation without a certain word; recursion is asked about more often."""
    pool = [topic for topic in banks.topics() if topic.avoid]
    topic = rng.choice(pool) if rng.random() < 0.8 else next(t for t in pool if t.name == "recursion")
    avoided = rng.choice(topic.avoid)
    template = banks.prompts()["avoid"][0] if rng.random() < 0.4 else rng.choice(banks.prompts()["avoid"])
    prompt = fill(_asked(template, topic, rng), w=avoided)
    return Task("avoid", prompt, lambda rng, count, _name: _facts(topic, rng, count, avoid=avoided), (4, 4, 5))


def benefit_list(rng: Random) -> Task:
    """Three to five benefits, numbered."""
    topic = rng.choice([topic for topic in banks.topics() if topic.benefits])
    wanted = rng.choice([3, 4, 5, 5, 5])
    prompt = fill(_asked(rng.choice(banks.prompts()["list"]), topic, rng), n=str(wanted))

    def write(rng: Random, _count: int, _name: str) -> list[str]:
        chosen = rng.sample(range(len(topic.benefits)), wanted)
        return [f"{i}. {topic.benefits[k]}" for i, k in enumerate(sorted(chosen), start=1)]

    return Task("list", prompt, write, fixed=True)


def unknown_subject(rng: Random) -> Task:
    """A question about anything at all, answered in general terms."""
    subject = rng.choice(
        [
            wording.word(rng),
            f"{wording.word(rng)} {wording.word(rng)}",
            rng.choice(["the ", "my ", "a "]) + wording.word(rng),
            wording.name(rng),
        ]
    )
    kind = rng.choice(["any", "any", "whatis", "how"])
    prompt = _scuffed(_about(rng.choice(banks.prompts()[kind]), subject, rng), rng)

    def write(rng: Random, count: int, _name: str) -> list[str]:
        lead = 0 if rng.random() < 0.8 else 1
        bank = banks.prompts()["generic"]
        rest = rng.sample([i for i in range(len(bank)) if i != lead], min(count, len(bank)) - 1)
        return [capitalized(spin(bank[i], rng, x=subject, X=capitalized(subject))) for i in [lead, *sorted(rest)]]

    return Task("generic", prompt, write, (7, 8, 8, 9))


def small_talk(rng: Random) -> Task:
    """A greeting, some news, a worry, thanks: answered in a playful tone."""
    scene = rng.choice(list(banks.scenes().values()))
    slots = {slot: rng.choice(values) for slot, values in scene.slots.items()}
    prompt = _scuffed(spin(rng.choice(scene.prompts), rng, **slots), rng)

    def write(rng: Random, count: int, _name: str) -> list[str]:
        lead = list(range(min(scene.opening, count)))
        rest = range(scene.opening, len(scene.sentences))
        chosen = rng.sample(rest, max(0, min(count - len(lead), len(rest))))
        return [capitalized(spin(scene.sentences[i], rng)) for i in lead + _roughly_ordered(chosen, rng)]

    return Task("social", prompt, write, SHORT, scene.emoji)


def who_are_you(rng: Random) -> Task:
    """A question about the assistant; the name leads where one is given."""
    prompt = _scuffed(spin(rng.choice(banks.identity()["prompts"]), rng), rng)

    def write(rng: Random, count: int, name: str) -> list[str]:
        bank = banks.identity()
        lead = spin(rng.choice(bank["named" if name else "unnamed"]), rng, name=name)
        chosen = rng.sample(range(len(bank["rest"])), min(count - 1, len(bank["rest"])))
        return [lead, *(spin(bank["rest"][i], rng) for i in _roughly_ordered(chosen, rng))]

    return Task("identity", prompt, write, SHORT)


def function(rng: Random) -> Task:
    """Write a small Python function; with a docstring where one is asked for."""
    snippet = rng.choice(banks.snippets()) if rng.random() < 0.85 else banks.snippets()[0]
    prompt, documented = _function_prompt(snippet, rng)

    def write(rng: Random, count: int, _name: str) -> list[str]:
        note = [snippet.note] if count > 1 and documented and rng.random() < 0.3 else []
        return [_code_block(snippet, documented, rng), *note]

    return Task("code", prompt, write, (2,), fixed=True)


def quiz(rng: Random) -> Task:
    """A question with one right answer."""
    bank, question, answer = rng.choice(
        [(bank, question, answer) for bank in banks.quizzes().values() for question, answer in bank.pairs.items()]
    )
    prompt = _scuffed(fill(rng.choice(bank.prompts), a=question), rng)
    return _exact("quiz", prompt, fill(rng.choice(bank.answers), a=question, b=answer))


def small_sum(rng: Random) -> Task:
    """Two numbers up to five to add."""
    a, b = rng.randint(1, 5), rng.randint(1, 5)
    template = rng.choice(
        ["What is <a> plus <b>?", "What is <a> + <b>?", "Add <a> and <b>.", "How much is <a> plus <b>?"]
    )
    return _exact("quiz", fill(template, a=str(a), b=str(b)), f"{a} plus {b} is {a + b}.")


def echo(rng: Random) -> Task:
    """Names and words to repeat."""
    count = rng.choice([1, 2, 3, 3, 4, 5, 6])
    words = [wording.name(rng) if rng.random() < 0.5 else wording.word(rng) for _ in range(count)]
    text = rng.choice([" ", " ", ", "]).join(words)
    return _exact("echo", fill(rng.choice(banks.prompts()["echo"]), w=text), text)


def _facts(topic: Topic, rng: Random, count: int, avoid: str = "", lead: bool = True) -> list[str]:
    """Up to `count` facts: a definition first when `lead`, the rest in an order that only roughly is the bank's."""
    usable = [fact for fact in topic.facts if not avoid or not re.search(rf"\b{avoid}", fact.lower())]
    first = [0] if lead and rng.random() < 0.85 else [1] if lead else []
    rest = [i for i in range(len(usable)) if i not in first]
    chosen = rng.sample(rest, min(count - len(first), len(rest)))
    order = first + sorted(chosen, key=lambda i: i + rng.random() * 3)
    return [capitalized(spin(usable[i], rng)) for i in order]


def _asked(template: str, topic: Topic, rng: Random) -> str:
    """The template about this topic, in the plural where the topic is one."""
    subject = rng.choice(topic.aliases) if topic.aliases and rng.random() < 0.5 else topic.name
    return _about(template, subject, rng, topic.plural)


def _about(template: str, subject: str, rng: Random, plural: bool = False) -> str:
    text = spin(template, rng)
    if plural:
        for singular, several in (("is <t>", "are <t>"), ("'s <t>", " are <t>"), ("does <t>", "do <t>")):
            text = text.replace(singular, several)
        text = text.replace("<t> works", "<t> work").replace("<t> has to", "<t> have to")
    return fill(text, t=subject, T=capitalized(subject))


def _roughly_ordered(indices: list[int], rng: Random) -> list[int]:
    """Near the bank's order, so that a small model loses no track of what it said, yet not always the same."""
    return sorted(indices, key=lambda i: i + rng.random() * 4)


def _exact(kind: str, prompt: str, answer: str) -> Task:
    return Task(kind, prompt, lambda _rng, _count, _name: [answer], fixed=True)


def _function_prompt(snippet: Snippet, rng: Random) -> tuple[str, bool]:
    """The prompt, and whether it asks for a docstring."""
    spoken = snippet.name.replace("_", " ")
    template = rng.choice(
        [
            f"Write a Python function called {snippet.name} {snippet.does}.",
            f"Write a Python function called {snippet.name} {snippet.does}.",
            f"Write a Python function {snippet.name}({snippet.args}) {snippet.does}.",
            f"Write a {{Python function|function in Python}} {snippet.does}.",
            f"Implement {snippet.name}({snippet.args}) in Python.",
            f"{{Can you write|Please write}} a {spoken} function in Python{{?|.}}",
        ]
    )
    prompt = spin(template, rng)
    if snippet.loop and rng.random() < 0.5:
        prompt += " " + rng.choice(["Use an iterative approach.", "Make it iterative.", "Use a loop."])
    documented = rng.random() < 0.5
    if documented:
        prompt += " " + rng.choice(["Include a docstring.", "Add a docstring.", "Use a docstring."])
    return prompt, documented


def _code_block(snippet: Snippet, documented: bool, rng: Random) -> str:
    lines = snippet.body.split("\n")
    if documented:
        lines = [f'"""{rng.choice(snippet.doc)}"""', *lines]
    body = "\n".join("    " + line for line in lines)
    return f"```python\ndef {snippet.name}({snippet.args}):\n{body}\n```"


def _scuffed(prompt: str, rng: Random, share: float = 0.1) -> str:
    """People type in a hurry: a share of prompts loses its punctuation or its capitals."""
    chance = rng.random() / share
    if chance < 0.6:
        return prompt.rstrip(".?!")
    return prompt.lower() if chance < 1.0 else prompt


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
