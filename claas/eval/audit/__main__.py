"""`python -m claas.eval.audit [name or path ...] [--config-dir DIR]`: can these preferences be measured with?"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from claas.core.errors import ClaasError, InvalidInput
from claas.eval.audit.soundness import Finding, audit, gamed_by
from claas.eval.audit.table import audit_table
from claas.eval.config.catalog import known_preferences, load_preference
from claas.eval.preference import Preference

UNSOUND, MISTAKE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all sound, 1 some not, 2 the user's mistake."""
    asked = _parser().parse_args(arguments)
    try:
        names = asked.preferences or known_preferences(asked.config_dir)
        preferences = [load_preference(name, asked.config_dir) for name in names]
    except ClaasError as error:
        print(f"claas.eval.audit: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    return _report(preferences)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claas.eval.audit",
        description="Score known answers with the verifiers of preferences, and say which cannot be measured with.",
    )
    parser.add_argument("preferences", nargs="*", metavar="PREFERENCE", help="names or paths; without any: all known")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of yours with preference/*.yaml")
    return parser


def _report(preferences: Sequence[Preference]) -> int:
    """Print the table, every problem, and what is worth knowing of the sound ones; the exit code."""
    audited: dict[str, tuple[Preference, list[Finding]]] = {}
    problems, notes = list[str](), list[str]()
    for preference in preferences:
        try:
            findings, tokens = list(audit(preference)), gamed_by(preference)
        except InvalidInput as error:  # a verifier broke down: there are no scores to show
            problems.append(str(error))
            continue
        audited[preference.name] = (preference, findings)
        unsound = [found.problem for found in findings if found.problem is not None]
        problems += unsound
        if tokens and not unsound:
            notes.append(f"note: {preference.name} is also satisfied by {', '.join(map(repr, tokens))} over and over")
    console = Console(highlight=False)
    if audited:
        console.print(audit_table(audited))
    for line in problems:
        console.print(Text(line, style="red"), soft_wrap=True)
    for line in notes:
        console.print(Text(line), soft_wrap=True)
    return UNSOUND if problems else 0


if __name__ == "__main__":
    sys.exit(main())
