"""Tasks that explain something: overviews, playful facts, counted sentences, avoided words, lists of benefits."""

import re
from random import Random

from claas.tiny.corpus import banks, lexicon
from claas.tiny.corpus.banks import Topic
from claas.tiny.corpus.spin import fill, spin
from claas.tiny.corpus.task import Task, capitalized, scuffed

LONG = (9, 9, 10, 10, 11)
SHORT = (4, 5, 5, 6)
SPACE_EMOJI = tuple("🚀🌌✨🌟🪐🔭")
PET_EMOJI = tuple("🐶🐱🐾😊")
IDEA_EMOJI = tuple("💡🤓📚🔍🌍😊😄🎉")


def overview(rng: Random) -> Task:
    """A question about a topic, answered at length."""
    topic = rng.choice(banks.topics())
    kinds = [*topic.kinds, *(["benefits"] if topic.benefits else [])]
    templates = [template for kind in kinds for template in banks.prompts()[kind]]
    chosen = rng.choice(templates) if rng.random() < 0.45 else rng.choice(banks.prompts()["any"])
    prompt = scuffed(asked(chosen, topic, rng), rng)
    if rng.random() < 0.04:
        prompt = rng.choice(["Hi! ", "Hello. ", "Please help. "]) + prompt

    def write(rng: Random, count: int, _name: str) -> list[str]:
        opener = [rng.choice(banks.carriers()["opener"])] if count > 2 and rng.random() < 0.25 else []
        closer = [rng.choice(banks.carriers()["closer"])] if count >= 5 and rng.random() < 0.6 else []
        body = facts(topic, rng, count - len(opener) - len(closer))
        return [*opener, *body, *(capitalized(spin(template, rng)) for template in closer)]

    return Task("topic", prompt, write, LONG)


def playful_fact(rng: Random) -> Task:
    """A fact asked for in a playful way."""
    topic = rng.choice(banks.topics())
    emoji = SPACE_EMOJI if "space" in topic.kinds else PET_EMOJI if "pets" in topic.kinds else IDEA_EMOJI

    def write(rng: Random, count: int, _name: str) -> list[str]:
        body = facts(topic, rng, count - 2 if count > 2 else count, lead=rng.random() < 0.5)
        if count <= 2:
            return body
        first = asked(rng.choice(banks.prompts()["fun_open"]), topic, rng)
        return [first, *body, spin(rng.choice(banks.prompts()["fun_close"]), rng)]

    return Task("fun", asked(rng.choice(banks.prompts()["fun"]), topic, rng), write, SHORT, emoji)


def three_sentences(rng: Random) -> Task:
    """Exactly three sentences; Python is asked about more often."""
    topic = rng.choice(banks.topics()) if rng.random() < 0.85 else banks.topics()[0]
    prompt = asked(rng.choice(banks.prompts()["three"]), topic, rng)
    return Task("three", prompt, lambda rng, _count, _name: facts(topic, rng, 3), (3,), fixed=True)


def avoided_word(rng: Random) -> Task:
    """An explanation without a certain word; recursion is asked about more often."""
    pool = [topic for topic in banks.topics() if topic.avoid]
    topic = rng.choice(pool) if rng.random() < 0.8 else next(t for t in pool if t.name == "recursion")
    avoided = rng.choice(topic.avoid)
    template = banks.prompts()["avoid"][0] if rng.random() < 0.4 else rng.choice(banks.prompts()["avoid"])
    prompt = fill(asked(template, topic, rng), w=avoided)
    return Task("avoid", prompt, lambda rng, count, _name: facts(topic, rng, count, avoid=avoided), (4, 4, 5))


def benefit_list(rng: Random) -> Task:
    """Three to five benefits, numbered."""
    topic = rng.choice([topic for topic in banks.topics() if topic.benefits])
    wanted = rng.choice([3, 4, 5, 5, 5])
    prompt = fill(asked(rng.choice(banks.prompts()["list"]), topic, rng), n=str(wanted))

    def write(rng: Random, _count: int, _name: str) -> list[str]:
        chosen = rng.sample(range(len(topic.benefits)), wanted)
        return [f"{i}. {topic.benefits[k]}" for i, k in enumerate(sorted(chosen), start=1)]

    return Task("list", prompt, write, fixed=True)


def unknown_subject(rng: Random) -> Task:
    """A question about anything at all, answered in general terms."""
    subject = rng.choice(
        [
            lexicon.word(rng),
            f"{lexicon.word(rng)} {lexicon.word(rng)}",
            rng.choice(["the ", "my ", "a "]) + lexicon.word(rng),
            lexicon.name(rng),
        ]
    )
    kind = rng.choice(["any", "any", "whatis", "how"])
    prompt = scuffed(_about(rng.choice(banks.prompts()[kind]), subject, rng), rng)

    def write(rng: Random, count: int, _name: str) -> list[str]:
        lead = 0 if rng.random() < 0.8 else 1
        bank = banks.prompts()["generic"]
        rest = rng.sample([i for i in range(len(bank)) if i != lead], min(count, len(bank)) - 1)
        return [capitalized(spin(bank[i], rng, x=subject, X=capitalized(subject))) for i in [lead, *sorted(rest)]]

    return Task("generic", prompt, write, (7, 8, 8, 9))


def facts(topic: Topic, rng: Random, count: int, avoid: str = "", lead: bool = True) -> list[str]:
    """Up to `count` facts: a definition first when `lead`, the rest in an order that only roughly is the bank's."""
    usable = [fact for fact in topic.facts if not avoid or not re.search(rf"\b{avoid}", fact.lower())]
    first = [0] if lead and rng.random() < 0.85 else [1] if lead else []
    rest = [i for i in range(len(usable)) if i not in first]
    chosen = rng.sample(rest, min(count - len(first), len(rest)))
    order = first + sorted(chosen, key=lambda i: i + rng.random() * 3)
    return [capitalized(spin(usable[i], rng)) for i in order]


def asked(template: str, topic: Topic, rng: Random) -> str:
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
