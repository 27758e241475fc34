"""Styles: which ones a user asks for, the words in which the wish is put, and the answer written in them."""

from dataclasses import replace
from random import Random

from claas.tiny.corpus import banks, wording
from claas.tiny.corpus.banks import Emoji
from claas.tiny.corpus.tasks import IDEA_EMOJI, Task, capitalized
from claas.tiny.corpus.wording import fill, spin

Styles = dict[str, str]
"""Style name to its parameter ("" where it has none)."""

SHORTENING = frozenset({"concise", "one", "three"})
SHORTER = frozenset({"bullets", "numbered", "endq", "end"})
MIN_WORDS = 13  # a concise answer says something: verifiers refuse fewer than ten words


def draw(rng: Random) -> Styles:
    """One style, sometimes two or three that can be combined."""
    specs = banks.styles()
    names, weights = list(specs), [spec.weight for spec in specs.values()]
    wanted = rng.choices([1, 2, 3], [82, 15, 3])[0]
    styles: Styles = {}
    for name in rng.choices(names, weights, k=8):
        if len(styles) < wanted and name not in styles and not specs[name].excludes & styles.keys():
            styles[name] = _parameter(specs[name].parameter, rng)
    return styles


def feedback(styles: Styles, rng: Random) -> str:
    """The wish as a user would write it; sometimes repeated, one copy a line, as a harness may send it."""
    parts = [_phrased(name, parameter, rng) for name, parameter in styles.items()]
    rng.shuffle(parts)
    if len(parts) > 1:
        parts = [part if part.endswith((".", "!", "?", "'", '"')) else part + "." for part in parts]
    text = rng.choice([" ", " ", "\n"]).join(parts)
    return "\n".join([text] * rng.choice([2, 3, 4])) if rng.random() < 0.08 else text


def answer(task: Task, styles: Styles, rng: Random) -> str:
    """The whole answer to the task in exactly these styles."""
    sentences = sentences_of(task, styles, rng)
    return laid_out(sentences, task, styles)


def soft_answer(task: Task, rng: Random) -> str:
    """An answer for which no style was asked.

    A small share is styled unprompted, so that no style is ever impossible: where a policy gives something no
    probability at all, on-policy training cannot find it.
    """
    chance = rng.random()
    styles: Styles = {}
    if task.kind == "identity" and chance < 0.09:
        styles["name"] = wording.name(rng)
    elif task.emoji and chance < 0.06:
        styles["no_emoji"] = ""
    elif task.kind == "topic" and chance < 0.03:
        styles["emoji"] = ""
    elif task.kind == "topic" and chance < 0.04:
        styles["bullets"] = ""
    if not task.fixed and rng.random() < 0.05:
        task = replace(task, lengths=(1, 2, 2, 3))
    return answer(task, styles, rng)


def sentences_of(task: Task, styles: Styles, rng: Random) -> list[str]:
    """The sentences in their order, before they are laid out."""
    sentences = _written(task, styles, rng)
    if not task.fixed and "one" in styles:
        sentences = _folded_into_one(sentences, styles)
    else:
        sentences = [*_before(task, styles, rng), *sentences, *_after(styles, rng)]
    if "start" in styles:
        sentences[0] = styles["start"] + rng.choice(["! ", ". ", ": "]) + sentences[0]
    if "noexcl" in styles and task.kind != "code":
        sentences = [sentence.replace("!", ".") for sentence in sentences]
    sentences = _decorated(sentences, task, styles, rng)
    if "endq" in styles and not sentences[-1].endswith("?"):
        sentences.append(rng.choice(banks.carriers()["question"]))
    return [*sentences, styles["end"]] if "end" in styles else sentences


def laid_out(sentences: list[str], task: Task, styles: Styles) -> str:
    """The answer's text: as a paragraph, a list, or lines."""
    if task.fixed and task.kind != "three":
        text = "\n".join(sentences)
    elif "bullets" in styles:
        text = "\n".join("- " + sentence for sentence in sentences)
    elif "numbered" in styles:
        text = "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(sentences, start=1))
    else:
        text = " ".join(sentences)
    return text.lower() if "lower" in styles and task.kind != "code" else text


def _parameter(kind: str, rng: Random) -> str:
    if kind == "name":
        return wording.name(rng)
    if kind == "phrase":
        return wording.phrase(rng)
    return wording.word(rng) if kind == "word" else ""


def _slots(name: str, parameter: str) -> dict[str, str]:
    kind = banks.styles()[name].parameter
    return {kind: parameter} if kind else {}


def _phrased(name: str, parameter: str, rng: Random) -> str:
    while True:
        text = _dressed(spin(_phrasing(name, rng), rng, **_slots(name, parameter)), parameter, rng)
        if not _is_held_out(text.replace(parameter, "Kuro") if parameter else text):
            return text


def _is_held_out(text: str) -> bool:
    """Whether this wish is a held-out one, or contains one of three or more words."""
    flat = banks.normalize(text)
    return any(
        held == flat or (len(held.split()) > 2 and f" {held} " in f" {flat} ") for held in banks.held_out().feedback
    )


def _phrasing(name: str, rng: Random) -> str:
    """The first phrasing is the one a shipped preference may use: it is drawn a little more often."""
    phrasings = banks.styles()[name].phrasings
    return phrasings[0] if rng.random() < 0.06 else rng.choice(phrasings)


def _dressed(text: str, parameter: str, rng: Random) -> str:
    """Some wishes get an introduction, or lose their full stop or their capitals."""
    if rng.random() < 0.2:
        prefix = rng.choice(banks.prefixes())
        keeps_capital = text.startswith("I") or (parameter != "" and text.startswith(parameter))
        text = prefix + (text if keeps_capital or not prefix.endswith(", ") else text[:1].lower() + text[1:])
    chance = rng.random()
    if chance < 0.15:
        return text.rstrip(".!")
    return text.lower() if chance < 0.2 and not parameter else text


def _written(task: Task, styles: Styles, rng: Random) -> list[str]:
    name = styles.get("name", "") if task.kind == "identity" else ""
    count = rng.choice(task.lengths)
    if "concise" in styles:
        return _concise(task, name, rng)
    if not task.fixed:
        if "one" in styles:
            count = 1
        elif "three" in styles:
            count = 3
        elif "long" in styles:
            count += 3
        elif SHORTER & styles.keys():
            count = min(count, rng.choice([4, 5, 6]))
    sentences = task.write(rng, count, name)
    return sentences[:3] if "three" in styles and not task.fixed else sentences


def _concise(task: Task, name: str, rng: Random) -> list[str]:
    """One or two sentences; a third only where two say next to nothing."""
    if task.fixed:
        return task.write(rng, 1, name)
    for count in (rng.choice([1, 2, 2, 2]), 2, 2, 3):
        sentences = task.write(rng, count, name)
        if len(" ".join(sentences).split()) >= MIN_WORDS:
            return sentences
    return sentences


def _folded_into_one(sentences: list[str], styles: Styles) -> list[str]:
    """What other styles add goes into the one sentence."""
    sentence = sentences[0]
    if "addr" in styles:
        sentence = f"{styles['addr']}, {sentence}"
    if "include" in styles:
        sentence = f"{sentence.rstrip('.!?')}, just like {styles['include']}."
    if "pirate" in styles:
        sentence = f"Arr, {sentence}"
    if "name" in styles and styles["name"] not in sentence:
        sentence = f"{styles['name']} here: {sentence}"
    return [sentence]


def _before(task: Task, styles: Styles, rng: Random) -> list[str]:
    carriers = banks.carriers()
    lines: list[str] = []
    if "thank" in styles:
        lines.append(rng.choice(carriers["thank"]))
    if "pirate" in styles:
        lines.append(rng.choice(carriers["pirate"]))
    if "addr" in styles:
        lines.append(fill(rng.choice(carriers["addr"]), name=styles["addr"]))
    if "name" in styles and task.kind != "identity":
        lines.append(fill(rng.choice(banks.identity()["intro"]), name=styles["name"]))
    if "include" in styles:
        lines.append(capitalized(fill(rng.choice(carriers["include"]), word=styles["include"])))
    return lines


def _after(styles: Styles, rng: Random) -> list[str]:
    if "pirate" in styles and not SHORTENING & styles.keys() and rng.random() < 0.5:
        return [rng.choice(banks.carriers()["pirate_late"])]
    return []


def _decorated(sentences: list[str], task: Task, styles: Styles, rng: Random) -> list[str]:
    """Playful answers carry emoji unless asked not to: always after the first sentence, often after the others."""
    wanted = "emoji" in styles
    if "no_emoji" in styles or not (wanted or task.emoji):
        return sentences
    if task.fixed and task.kind != "three":
        return [*sentences, rng.choice(["Enjoy!", "Done!", "Here you go!"]) + " " + rng.choice(IDEA_EMOJI)]
    pool = task.emoji or IDEA_EMOJI
    share = 0.95 if wanted else 0.6
    return [
        _with_emoji(sentence, pool, rng) if i == 0 or rng.random() < share else sentence
        for i, sentence in enumerate(sentences)
    ]


def _with_emoji(sentence: str, pool: Emoji, rng: Random) -> str:
    return f"{sentence} {''.join(rng.choice(pool) for _ in range(1 if rng.random() < 0.88 else 2))}"
