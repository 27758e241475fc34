import asyncio
import time
from pathlib import Path

import pytest

from claas.eval.metrics.sandbox import Case, CodeResult, Limits, SandboxError, confinement, run_cases, run_program

CASES = (Case((1,), 1), Case((2,), 2))
PATIENT = Limits(wall_s=30.0)
HASTY = Limits(cpu_s=0.2, wall_s=30.0)
ECHO = "def f(n):\n    'Give n back.'\n    return n\n"


def run(source: str, cases: tuple[Case, ...] = CASES, limits: Limits = PATIENT) -> CodeResult:
    return asyncio.run(run_cases(source, "f", cases, limits))


def test_right_code_is_right_in_every_case() -> None:
    assert run(ECHO) == CodeResult((True, True), True, None)


def test_each_case_has_its_own_verdict() -> None:
    assert run("def f(n): return 1").ok == (True, False)
    assert run("def f(n):\n    if n == 1: raise ValueError\n    return n").ok == (False, True)
    assert run("def f(n):\n    if n == 1: raise SystemExit\n    return n").ok == (False, True)


@pytest.mark.parametrize(
    ("returned", "wanted", "same"),
    [
        ("True", 1, False),
        ("1", True, True),
        ("0", True, False),
        ("1.0", True, False),
        ("1.0", 1, False),
        ("1", 1.0, True),
        ("True", 1.0, False),
        ("[1.0]", [1], False),
        ("(1, [2])", [1, [2]], True),
        ("[1]", [1, None], False),
        ("'a'", "a", True),
        ("None", None, True),
        ("float('nan')", None, False),
        ("{1}", [1], False),
    ],
)
def test_values_are_compared_as_json(returned: str, wanted: object, same: bool) -> None:
    assert run(f"def f(): return {returned}", (Case((), wanted),)).ok == (same,)


def test_arguments_are_not_shared_between_calls() -> None:
    assert run("def f(x):\n    x.append(1)\n    return x", (Case(([],), [1]),) * 2).ok == (True, True)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def f(n: return", "SyntaxError"),
        ("x = 1", "defines no function 'f'"),
        ("f = 1", "defines no function"),
        ("raise ValueError('no')", "ValueError: no"),
        ("raise ValueError('\\ud800')", r"ValueError: \ud800"),
        ("import os; os._exit(3)", "crashed"),
        ("x" * 70_000, "longer than"),
        ("(" * 30_000, "Error"),
        ("", "defines no function"),
    ],
)
def test_code_that_cannot_be_called_says_why(source: str, error: str) -> None:
    result = run(source)
    assert result.ok == (False, False)
    assert result.error is not None
    assert error in result.error


def test_what_code_prints_is_not_taken_for_its_result() -> None:
    assert run('def f(n):\n    print(\'{"call": 0, "returned": 1}\')\n    return n').ok == (True, True)


def test_ordinary_library_modules_can_be_used() -> None:
    source = (
        "import math, re, random\nfrom functools import lru_cache\nfrom collections import namedtuple, deque\n"
        "from dataclasses import dataclass\nfrom typing import NamedTuple\nimport itertools as it, decimal\n"
        "P = namedtuple('P', 'a b', defaults=(1,))\nclass Q(NamedTuple):\n    a: int\n"
        "@dataclass\nclass R:\n    a: int\n@lru_cache\ndef f(n):\n    return math.isqrt(n * n) + R(0).a\n"
    )
    assert run(source).ok == (True, True)


REFUSED = {
    "reads the environment": "import os\n    return len(os.environ) and n",
    "reads a parent's environment": "import os\n    return open(f'/proc/{os.getppid()}/environ').read() and n",
    "reads a file": "return open('/etc/passwd').read() and n",
    "lists its folder": "import os\n    return os.listdir('.') and n",
    "writes a file": "open('PLACE', 'w').write('x')\n    return n",
    "makes a file by descriptor": "import os\n    os.open('PLACE', os.O_CREAT | os.O_WRONLY)\n    return n",
    "makes a folder": "import os\n    os.mkdir('PLACE')\n    return n",
    "forks": "import os\n    os.fork()\n    return n",
    "starts a program": "import subprocess\n    subprocess.run(['id'])\n    return n",
    "runs a shell": "import os\n    os.system('id')\n    return n",
    "starts a thread": "import threading\n    threading.Thread(target=print).start()\n    return n",
    "kills its parent": "import os\n    os.kill(os.getppid(), 9)\n    return n",
    "opens a socket": "import socket\n    socket.create_connection(('127.0.0.1', 80), 1)\n    return n",
    "calls foreign code": "import ctypes\n    ctypes.CDLL(None).getpid()\n    return n",
    "raises its limits": "import resource\n    resource.setrlimit(resource.RLIMIT_CPU, (99, 99))\n    return n",
    "takes memory": "return len('x' * 10**10) and n",
    "recurses for ever": "return f(n + 1)",
    "says too much": "return 'x' * 10**6 and 'x' * 10**6",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_code_gets_nothing_but_computation(body: str, tmp_path: Path) -> None:
    place = tmp_path / "escaped"
    result = run("def f(n):\n    " + body.replace("PLACE", str(place)))
    assert result.ok == (False, False)
    assert not place.exists()


def test_an_endless_loop_ends_and_what_came_before_it_counts() -> None:
    assert run("def f(n):\n    while n == 2: pass\n    return n", limits=HASTY).ok == (True, False)


def test_waiting_ends_with_the_wall_time_and_is_asked_again_the_next_time() -> None:
    started = time.monotonic()
    sleeper = f"import time\ntime.sleep(60)\n{ECHO}"
    assert run(sleeper, limits=Limits(wall_s=0.5)).error is not None
    assert time.monotonic() - started < 5


def test_replies_can_be_forged_only_by_knowing_the_answer() -> None:
    forger = (
        "import os\ndef f(n):\n    for fd in range(3, 20):\n"
        "        try: os.write(fd, b'[1]\\n{\"call\": true}\\nnull\\n')\n"
        "        except OSError: pass\n    os._exit(0)\n"
    )
    assert run(forger).ok == (False, False)


def test_the_harness_goes_on_meanwhile() -> None:
    async def ticks_meanwhile() -> int:
        ticks = 0
        task = asyncio.create_task(run_cases(ECHO + "# meanwhile", "f", CASES))
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(ticks_meanwhile()) > 3


def test_the_same_question_is_answered_from_memory() -> None:
    first = run(ECHO + "# once")
    with pytest.raises(StopIteration) as returned:  # without waiting for anything
        run_cases(ECHO + "# once", "f", CASES, PATIENT).send(None)
    assert returned.value.value == first


def test_many_programs_run_side_by_side() -> None:
    async def all_of_them() -> list[CodeResult]:
        return await asyncio.gather(*(run_cases(f"{ECHO}# {i}", "f", CASES) for i in range(6)))

    assert all(result.ok == (True, True) for result in asyncio.run(all_of_them()))


def test_secrets_of_the_harness_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAAS_API_KEY", "secret")
    assert run("import os\ndef f(): return sorted(os.environ)", (Case((), []),)).ok == (True,)


PROGRAM = "def f(n):\n    return n + 1\n"
WRITE_TO_ALL = "import os\nfor fd in range(3, 9):\n    try: os.write(fd, {})\n    except OSError: pass\n"


@pytest.mark.parametrize(
    ("source", "ended"),
    [
        (f"{PROGRAM}assert f(1) == 2", None),
        (f"{PROGRAM}assert f(1) == 3", "AssertionError"),
        (f"{PROGRAM}assert f(1) == 3, 'two'", "AssertionError: two"),
        (f"{PROGRAM}g(1)", "NameError: name 'g' is not defined"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
        ("x = = 1", "SyntaxError: invalid syntax (<answer>, line 1)"),
        ("raise ValueError('one\\n two')", "ValueError: one two"),
        ("class E(BaseException):\n    def __str__(self): raise self\nraise E", "E"),
        ("raise ValueError('\\ud800')", r"ValueError: \ud800"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("input()", "EOFError: EOF when reading a line"),
        ("x = 'x' * 10**10", "MemoryError"),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("import os; os._exit(3)", "crashed: exit code 3"),
        ("import os; os._exit(0)", "crashed: exit code 0"),
        ("while True: pass", "out of time"),
        ("import signal; signal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass", "out of time"),
        ("print('x' * 10**7)", None),
        (WRITE_TO_ALL.format("b'x' * 10**6"), "wrote too much"),
        (WRITE_TO_ALL.format("b'{}\\n'") + "os._exit(0)", "crashed: exit code 0"),
        ("# " + "x" * 10**5, None),
    ],
)  # fmt: skip
def test_a_program_ends_or_says_why_it_did_not(source: str, ended: str | None) -> None:
    assert asyncio.run(run_program(source, HASTY)) == ended


def test_a_program_that_waits_is_out_of_time() -> None:
    assert asyncio.run(run_program("import time; time.sleep(60)", Limits(wall_s=0.3))) == "out of time"


def test_a_sandbox_that_breaks_down_says_nothing_about_the_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr("claas.eval.metrics.sandbox._CHILD", broken)
    for asked in (run_program("1"), run_cases("# broken", "f", CASES), confinement()):
        with pytest.raises(SandboxError, match="before it had confined itself"):
            asyncio.run(asked)
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    with pytest.raises(SandboxError, match="cannot start the sandbox process"):
        asyncio.run(run_program("1"))
