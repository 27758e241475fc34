"""A folder of small preferences, so that whole runs take a moment."""

from pathlib import Path

import yaml


def small_preferences(folder: Path, *names: str) -> Path:
    """`folder` with one small preference per name, unless it has it; returned to be given as `config_dir`."""
    (folder / "preference").mkdir(parents=True, exist_ok=True)
    for name in names:
        content = {
            "name": name,
            "feedback_string": f"Please be {name}",
            "verifier": {"_target_": "claas.eval.metrics.verifiers.NoEmojiVerifier"},
            "logprob_pairs": [
                {
                    "prompt_messages": [{"role": "user", "content": "What is rain?"}],
                    "positive_response": "Water that falls from clouds.",
                    "negative_response": "Water that falls from clouds 🌧.",
                }
            ],
            "probe_prompts": ["What is snow?", "What is hail?", "What is fog?"],
            "heldout_prompts": ["What is wind?", "What is ice?"],
        }
        path = folder / "preference" / f"{name}.yaml"
        if not path.exists():
            path.write_text(yaml.safe_dump(content))
    return folder
