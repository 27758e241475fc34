"""The records of one small run as plain JSON: read, changed on purpose, and searched for numbers."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def baseline(run: Path) -> dict[str, Any]:
    return read(run / "calm" / "baseline.json")[0]


def steps(run: Path) -> list[dict[str, Any]]:
    path = run / "calm" / "steps.jsonl"
    return read(path) if path.exists() else []


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file, one a line in .jsonl."""
    text = file.read_text()
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else [json.loads(text)]


def write(file: Path, records: list[dict[str, Any]]) -> None:
    file.write_text("\n".join(json.dumps(record) for record in records) + "\n")


def change(file: Path, line: int, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change one record of a file."""
    records = read(file)
    edit(records[line])
    write(file, records)


def put_sampling_into_ledger(records: Path) -> None:
    """Make a preference's records what earlier versions wrote: every sampled transcript in the ledger, too."""
    on_record = read(records / "steps.jsonl") if (records / "steps.jsonl").exists() else []
    ledger = read(records / "ledger.jsonl")
    for intent in (entry for entry in ledger if entry["kind"] == "intent"):
        waiting = records / "sampled" / f"{intent['step']}.json"
        if waiting.exists():
            intent["sampling"] = read(waiting)[0]["transcripts"]
        else:
            rollouts = on_record[intent["step"]]["rollouts"]
            intent["sampling"] = [rollout for rollout in rollouts if rollout["metric"] == "sample"]
    write(records / "ledger.jsonl", ledger)
    shutil.rmtree(records / "sampled")


def edit_response(item: str, edit: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def edited(record: dict[str, Any]) -> None:
        for rollout in record["rollouts"]:
            if rollout["item"] == item:
                rollout["response"] = edit(rollout["response"])

    return edited


def derived(record: dict[str, Any]) -> Iterable[tuple[Any, ...]]:
    """Where in a record numbers stand that are made from transcripts, or that must equal the ledger's."""
    for part in ("eval", "counts", "tokens", "sdpo_metrics"):
        yield from ((part, *path) for path, _ in numbers(record.get(part, {})))
    for index, rollout in enumerate(record["rollouts"]):
        yield from (("rollouts", index, "verdict", *path) for path, _ in numbers(rollout["verdict"] or {}))


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[tuple[Any, ...], float]]:
    """Every number inside a JSON value, with the way to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, (*path, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple[Any, ...], new: float) -> None:
    at(value, path[:-1])[path[-1]] = new
