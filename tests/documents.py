"""What a command prints with --json."""

import json
from typing import Any, Protocol


class Printed(Protocol):
    """What a test captured."""

    @property
    def out(self) -> str: ...


def document(printed: Printed) -> dict[str, Any]:
    """The one document that standard output has to be, of the form that is promised."""
    found = json.loads(printed.out)
    assert list(found) == ["command", "version", "exit_code", "result", "error"]
    assert found["error"] is None or list(found["error"]) == ["cause", "mend"]
    return found
