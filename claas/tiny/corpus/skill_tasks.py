"""Tasks with one right answer, short enough to be checked: small functions, quizzes, sums, copying."""

from random import Random

from claas.tiny.corpus import banks, lexicon
from claas.tiny.corpus.banks import Snippet
from claas.tiny.corpus.spin import fill, spin
from claas.tiny.corpus.task import Task, scuffed


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
    prompt = scuffed(fill(rng.choice(bank.prompts), a=question), rng)
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
    words = [lexicon.name(rng) if rng.random() < 0.5 else lexicon.word(rng) for _ in range(count)]
    text = rng.choice([" ", " ", ", "]).join(words)
    return _exact("echo", fill(rng.choice(banks.prompts()["echo"]), w=text), text)


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
