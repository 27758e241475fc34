"""Cases for known programming tasks whose arguments are drawn by seed, so that no table of the written ones passes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from claas.eval.metrics.sandbox import Case


@dataclass(frozen=True)
class CodingTask:
    """`draw` gives the arguments of one call, `solve` what it should return."""

    draw: Callable[[Random], tuple[Any, ...]]
    solve: Callable[..., Any]


def drawn(entry: str, count: int, seed: int) -> list[Case]:
    """So many cases of a known task, the same for the same seed."""
    task, random = TASKS[entry], Random(f"{seed} {entry}")
    arguments = [task.draw(random) for _ in range(count)]
    return [Case(given, task.solve(*given)) for given in arguments]


def _fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def _is_even(n: int) -> bool:
    return n % 2 == 0


def _is_palindrome(text: str) -> bool:
    return text == text[::-1]


def _backwards(text: str) -> str:
    return text[::-1]


def _word(random: Random, longest: int = 9) -> str:
    return "".join(random.choices("abcdefg", k=random.randint(2, longest)))


def _perhaps_a_palindrome(random: Random) -> str:
    half, middle = _word(random, 4), random.choice(["", "x"])
    return half + middle + (half[::-1] if random.random() < 0.5 else half)


def _numbers(random: Random) -> list[int]:
    return random.sample(range(-999, 1000), random.randint(3, 9))


def _with_a_common_factor(random: Random) -> tuple[int, int]:
    factor = random.randint(2, 30)
    return factor * random.randint(2, 60), factor * random.randint(2, 60)


TASKS = {
    "fibonacci": CodingTask(lambda random: (random.randint(11, 90),), _fibonacci),
    "factorial": CodingTask(lambda random: (random.randint(2, 20),), math.factorial),
    "gcd": CodingTask(_with_a_common_factor, math.gcd),
    "is_even": CodingTask(lambda random: (random.randint(-999, 999),), _is_even),
    "is_palindrome": CodingTask(lambda random: (_perhaps_a_palindrome(random),), _is_palindrome),
    "reverse_string": CodingTask(lambda random: (_word(random),), _backwards),
    "is_prime": CodingTask(lambda random: (random.randint(2, 400) * 2 + 1,), _is_prime),
    "find_max": CodingTask(lambda random: (_numbers(random),), max),
    "sum_list": CodingTask(lambda random: (_numbers(random),), sum),
}
"""What can be drawn, by the name of the function that is asked for."""
