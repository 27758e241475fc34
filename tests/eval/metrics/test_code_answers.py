"""Code is found in every shape that models answer in, and judged by what Python would have at the end."""

import asyncio
from textwrap import indent

import pytest

from claas.eval.metrics.code_answers import code_in, is_iterative
from claas.eval.metrics.sandbox import Case, run_cases

CODE = """\
def fibonacci(n):
    '''The nth.'''
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
"""
WRONG = "def fibonacci(n):\n    '''The nth.'''\n    return n\n"
CASES = [Case((0,), 0), Case((10,), 55)]


def is_right(answer: str) -> bool:
    cells = code_in(answer, "fibonacci")
    result = asyncio.run(run_cases(cells[-1], "fibonacci", CASES, before=cells[:-1]))
    return all(result.ok) and result.docstring and is_iterative(cells, "fibonacci")


def block(code: str, fence: str = "```") -> str:
    return f"{fence}python\n{code}{fence}\n"


RIGHT = {
    "bare": CODE,
    "prose around it": f"Sure, here you go.\n\n{CODE}\nIt adds two numbers each time.",
    "fence": f"Here:\n{block(CODE)}Done.",
    "no language": f"```\n{CODE}\n```",
    "never closed": f"```python\n{CODE}",
    "tildes": block(CODE, "~~~"),
    "four back-ticks": block(CODE, "````"),
    "in a list": "1. Write it:\n\n" + indent(block(CODE), "   ") + "2. Run it.",
    "at the item": "- " + indent(block(CODE), "  ").strip(),
    "in a quotation": indent(block(CODE), "> "),
    "carriage returns": block(CODE).replace("\n", "\r\n"),
    "hard spaces": block(CODE).replace("    a, b", "\u00a0   a, b"),
    "an invisible space": block(CODE).replace("return a", "return a\u200b"),
    "a prompt": block(">>> " + CODE.strip().replace("\n", "\n... ") + "\n>>> fibonacci(3)\n2\n"),
    "imports apart": block("from functools import lru_cache\n") + "then\n" + block("@lru_cache\n" + CODE),
    "two imports on a line": block("import math; import itertools\n" + CODE),
    "a fence in the docstring": block(CODE.replace("The nth.", "The nth.\n\n    ```\n    fibonacci(3)\n    ```\n    ")),
    "a flush fence in the docstring": block(CODE.replace("The nth.", "The nth.\n\n```\nfibonacci(3)\n```\n")),
    "a comment first": block("# def fibonacci: see below\n") + block(CODE),
    "a method of the name first": block("class S:\n    def fibonacci(self, n):\n        return 0\n") + block(CODE),
    "a wrong attempt first": f"A wrong attempt:\n{block(WRONG)}The correct one:\n{block(CODE)}",
    "a wrong line first": f"Bad: ```def fibonacci: return 0``` Better:\n{block(CODE)}",
    "its use first": "Call it like this:\n" + block("print(fibonacci(5))\n") + "where\n" + block(CODE),
    "its use after it": block(CODE) + block("assert fibonacci(10) == 55\nprint(fibonacci(") + "that is all",
    "its output after it": block(CODE + "print(fibonacci(3))\n") + "prints\n```\n2\n```",
    "a shell first": "```bash\npip install fib\n```\n" + block(CODE),
    "a main guard": block(CODE + "\nif __name__ == '__main__':\n    print(fibonacci(int(input())))\n"),
}
NOT_RIGHT = {
    "a wrong one last": block(CODE) + "or rather\n" + block(WRONG),
    "only a method": block("class S:\n" + indent(CODE.replace("(n)", "(self, n)"), "    ")),
    "only a comment": block("# def fibonacci(n): return n\n"),
    "recursive": block(
        "def fibonacci(n):\n    '''It.'''\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n"
    ),
    "recursive in a helper": block(
        "def g(n):\n    return n if n < 2 else g(n - 1) + g(n - 2)\n"
        "def fibonacci(n):\n    '''It.'''\n    for _ in range(1):\n        return g(n)\n"
    ),
    "a closed form": block("def fibonacci(n):\n    '''It.'''\n    return round(((1 + 5**.5) / 2) ** n / 5**.5)\n"),
    "no code": "I cannot code.",
}


@pytest.mark.parametrize("shape", RIGHT)
def test_right_code_is_found_in_any_shape(shape: str) -> None:
    assert is_right(RIGHT[shape])


@pytest.mark.parametrize("shape", NOT_RIGHT)
def test_what_python_would_have_at_the_end_counts(shape: str) -> None:
    assert not is_right(NOT_RIGHT[shape])


def test_no_answer_is_too_odd_to_look_for_code_in() -> None:
    for odd in ("", "```", "``` ```", "(" * 5000, "```python\n" + "(" * 5000, "```\n" * 200, "~~~\n```\n" * 100, "\0"):
        assert code_in(odd, "f")
        assert not is_iterative(code_in(odd, "f"), "f")
