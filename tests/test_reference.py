"""docs/reference.md is what the code says of itself, now."""

from docs.reference import PAGE, reference


def test_the_reference_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make reference"
