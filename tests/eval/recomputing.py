"""What every test that runs the harness asks at its end: do the records agree with themselves?"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from claas.eval.recompute.measurements import Agreement
from claas.eval.recompute.run import recompute_run


def require_recomputable(run_dir: Path) -> None:
    """Recompute a run from its folder alone, as `python -m claas.eval.recompute` does."""
    require_agreement(asyncio.run(recompute_run(run_dir)))


def require_agreement(found: Sequence[Agreement]) -> None:
    """Every number was recomputed, and none came out otherwise."""
    assert not [str(each) for part in found for each in part.disagreements]
