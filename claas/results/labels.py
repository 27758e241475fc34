"""What a person notes about a run: tags, a note, and whether lists leave it out; in `labels.json` in its folder.

It is no record: nothing that is measured, compared or recomputed reads it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from claas.core.errors import ClaasError, InvalidInput, StackError
from claas.core.files import in_turn, read_text, write_atomically
from claas.results.records import Record
from claas.results.run_files import RunFiles, parsed

MOST_TAGS = 20
LONGEST_NOTE = 4000
_TAG = re.compile(r"[^\W_][\w.:/=@+-]{0,39}")
_MEND = "mend it, or delete it and set the labels anew"


class Labels(Record):
    """`archived` runs are left out of lists that do not ask for them; nothing about them is moved or changed."""

    schema_version: int = 1
    tags: tuple[str, ...] = Field(default=(), max_length=MOST_TAGS)
    note: str = Field(default="", max_length=LONGEST_NOTE)
    archived: bool = False

    @field_validator("tags")
    @classmethod
    def _are_words(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(require_tag, tags))


NO_LABELS = Labels()


def read_labels(root: Path) -> Labels:
    """Those of the run in a folder; `InvalidInput` where the file holds none, and the mend."""
    path = RunFiles(root).labels
    if path.is_symlink():
        raise InvalidInput(f"{path} is a link, which is not followed; {_MEND}")
    return parsed(path, read_text(path), Labels, _MEND) if path.exists() else NO_LABELS


def change_labels(
    root: Path,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    note: str | None = None,
    archived: bool | None = None,
) -> Labels:
    """Change what is given, leave the rest, and say what there is then. Two who change it at once both do.

    `InvalidInput` for what is no tag, for too much, and for a folder that is no run's.
    """
    add, remove = list(add), list(remove)
    _labels_after(root, add, remove, note, archived)
    with in_turn(root / ".labels.lock"):
        changed = _labels_after(root, add, remove, note, archived)
        if changed != read_labels(root):
            write_atomically(RunFiles(root).labels, changed.model_dump_json(indent=2) + "\n")
    return changed


def change_labels_of(
    roots: Mapping[str, Path],
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    note: str | None = None,
    archived: bool | None = None,
) -> dict[str, Labels]:
    """Change those of several runs, by name: of none where one of them refuses it.

    `StackError` where one cannot be written all the same; it says which runs are changed already.
    """
    for root in roots.values():
        _labels_after(root, add, remove, note, archived)
    changed: dict[str, Labels] = {}
    for name, root in roots.items():
        try:
            changed[name] = change_labels(root, add, remove, note, archived)
        except ClaasError as error:
            if not changed:
                raise
            raise StackError(f"{error}; changed already: {', '.join(changed)}") from error
    return changed


def _labels_after(
    root: Path, add: Sequence[str], remove: Sequence[str], note: str | None, archived: bool | None
) -> Labels:
    """What a change would make of the labels that are there; `InvalidInput` where it is refused."""
    if not RunFiles(root).config.is_file():
        raise InvalidInput(f"{root} is not a run's folder: it holds no config.json")
    if note is not None and len(note) > LONGEST_NOTE:
        raise InvalidInput(f"a note has at most {LONGEST_NOTE} characters, got {len(note)}")
    old = read_labels(root)
    tags = tuple(tag for tag in dict.fromkeys([*old.tags, *map(require_tag, add)]) if tag not in remove)
    if len(tags) > MOST_TAGS:
        raise InvalidInput(f"a run has at most {MOST_TAGS} tags, this would be {len(tags)}; take some away first")
    return Labels(
        tags=tags,
        note=old.note if note is None else note.strip(),
        archived=old.archived if archived is None else archived,
    )


def require_tag(tag: str) -> str:
    """The tag; `InvalidInput` unless it is one word that begins with a letter or a digit."""
    if not _TAG.fullmatch(tag):
        raise InvalidInput(
            f"{tag[:60]!r} is no tag: one is up to 40 letters, digits and . : / = @ + - _, the first a letter or digit"
        )
    return tag
