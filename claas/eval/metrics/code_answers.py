"""The Python in an answer: what there would be to call once a person had run all of it, in order."""

import ast
from collections.abc import Iterator
from itertools import islice
from textwrap import dedent

import regex


def code_in(answer: str, entry: str) -> list[str]:
    """The blocks of code, in order, up to the last that defines `entry`, as the cells of a notebook.

    Without a fence it is the lines that look like Python.
    """
    blocks = list(_fenced(answer))
    if not blocks:
        lines = (line.strip("`") for line in answer.splitlines())
        return ["\n".join(line for line in lines if _CODE_LINE.match(line))]
    defining = [index for index, block in enumerate(blocks) if _defines(block, entry)]
    cells = blocks[: defining[-1] + 1] if defining else blocks
    return [cell for cell in cells[:-1] if _parsed(cell) is not None] + cells[-1:]


def is_iterative(cells: list[str], entry: str) -> bool:
    """Whether `entry`, as defined last, loops, and neither it nor a function that it calls calls itself."""
    trees = [tree for cell in cells if (tree := _parsed(cell)) is not None]
    nodes = [node for tree in trees for node in (*ast.walk(tree), *tree.body)]  # what is on top last: it wins
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    calls = {name: _names_called(function) & functions.keys() for name, function in functions.items()}
    reached, ahead = set[str](), [entry] if entry in functions else []
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead += calls[name] - reached
    loops = any(isinstance(node, _LOOPS) for name in reached for node in ast.walk(functions[name]))
    repeats = any(_names_called(functions[name]) & {"reduce", "accumulate"} for name in reached)
    return (loops or repeats) and not _in_a_circle(calls, reached)


_LOOPS = (ast.For, ast.While, ast.comprehension)


def _names_called(function: ast.FunctionDef) -> set[str]:
    called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {
        name.attr if isinstance(name, ast.Attribute) else name.id
        for name in called
        if isinstance(name, ast.Attribute | ast.Name)
    }


def _in_a_circle(calls: dict[str, set[str]], names: set[str]) -> bool:
    """Whether some of these functions calls itself, straight or through others."""
    left = set(names)
    while done := {name for name in left if not calls[name] & left}:
        left -= done
    return bool(left)


_OPENS = regex.compile(r"(?:[-*+]\s+|\d{1,3}[.)]\s+)?(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_QUOTED = regex.compile(r"^\s*> ?(?!>)")
_CODE_LINE = regex.compile(r"\s|def |async def |class |@|import |from \S+ import |\Z")
_ODD_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u200b": None, "\ufeff": None, "\u2060": None})
_MOST_TRIES = 20


def _fenced(answer: str) -> Iterator[str]:
    """The text of each fenced block, its indentation taken off.

    A block ends at the first line of nothing but its fence after which what it holds is Python: so neither a fence in
    a docstring nor one within a line ends it.
    """
    lines = [_QUOTED.sub("", line) for line in answer.splitlines()]
    at = 0
    while at < len(lines):
        opening = _OPENS.match(lines[at].strip())
        at += 1
        if opening is None:
            continue
        fence = opening.group("fence")
        closing = (index for index in range(at, len(lines)) if _closes(lines[index], fence))
        ends = list(islice(closing, _MOST_TRIES)) or [len(lines)]
        wholes = (end for end in ends if _parsed(_block(lines[at:end])) is not None)
        end = next(wholes, ends[0])
        yield _block(lines[at:end])
        at = end + 1


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and set(bare) == {fence[0]}


def _block(lines: list[str]) -> str:
    prompts = [line.strip() for line in lines if line.strip().startswith((">>>", "..."))]
    if prompts and lines and lines[0].strip().startswith(">>>"):
        return "\n".join(line[4:] for line in prompts)
    return dedent("\n".join(lines)).translate(_ODD_SPACES)


def _parsed(code: str) -> ast.Module | None:
    """The code as a tree; None where it is no Python."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defines(code: str, entry: str) -> bool:
    """Whether running the code binds the name at its top level; of what is no Python, whether it looks so."""
    tree = _parsed(code)
    if tree is None:
        return regex.search(rf"^(?:async )?def {entry}\b", code, regex.MULTILINE) is not None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == entry:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == entry for at in node.targets):
            return True
        if isinstance(node, ast.ImportFrom) and any((name.asname or name.name) == entry for name in node.names):
            return True
    return False
