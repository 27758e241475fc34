"""Settings as dataclasses: declared once, checked once, shown with what they mean."""

from dataclasses import dataclass

import pytest

from claas.core.configuration import check_limits, checked, known_keys, setting, settings_as_yaml
from claas.core.errors import InvalidInput


@dataclass
class Heat:
    degrees: float = setting(20.0, "of the room, in Celsius", low=-30.0, high=50.0)

    def __post_init__(self) -> None:
        check_limits(self, "heat.")


@dataclass
class House:
    name: str | None = setting(None, "null: nobody has named it")
    rooms: int = setting(3, "how many", low=0, above=True)
    colour: str = setting("red", "of the roof", choices=("red", "grey"))
    heat: Heat = setting(Heat(), "in winter")
    doors: list[str] = setting(["front"], "by name")
    floors: list[int] | None = setting(None, "null: all")
    marks: dict[str, float] = setting({}, "free names")

    def __post_init__(self) -> None:
        check_limits(self)


def test_every_key_is_known_those_of_sections_dotted() -> None:
    assert list(known_keys(House)) == ["name", "rooms", "colour", "heat", "doors", "floors", "marks", "heat.degrees"]


def test_settings_are_shown_as_yaml_with_what_they_mean() -> None:
    assert settings_as_yaml(House) == [
        "name: null  # null: nobody has named it",
        "rooms: 3  # how many (> 0)",
        "colour: red  # of the roof (red | grey)",
        "doors: [front]  # by name",
        "floors: null  # null: all",
        "marks: {}  # free names",
        "",
        "heat:  # in winter",
        "  degrees: 20.0  # of the room, in Celsius (-30 to 50)",
    ]


def test_defaults_are_not_shared() -> None:
    House().doors.append("back")
    House().heat.degrees = 1.0
    assert House() == House(doors=["front"], heat=Heat(20.0))


def test_values_become_settings() -> None:
    values = {"name": 7, "rooms": "4", "heat": {"degrees": 5}, "doors": "back", "floors": 2, "marks": {"hall": 1}}
    assert checked(House, values) == House(
        name="7", rooms=4, heat=Heat(5.0), doors=["back"], floors=[2], marks={"hall": 1.0}
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"romms": 1}, "unknown key 'romms'; did you mean rooms?"),
        ({"degrees": 1}, "unknown key 'degrees'; did you mean heat.degrees?"),
        ({"heat": {"degrese": 1}}, "unknown key 'heat.degrese'; did you mean heat.degrees?"),
        ({"heat.degrees": 1}, "cannot read 'heat.degrees': in a file, a section's keys stand below it"),
        ({"rooms": 0}, "rooms must be > 0, got 0"),
        ({"rooms": "many"}, "rooms: input should be a valid integer, got 'many'"),
        ({"rooms": True}, "rooms: input should be a valid integer, got True"),
        ({"colour": "blue"}, "unknown colour 'blue'; known: grey, red"),
        ({"heat": {"degrees": 51}}, "heat.degrees must be >= -30 and <= 50, got 51"),
        ({"heat": 3}, "heat: input should be an object, got 3"),
    ],
)
def test_a_mistake_names_the_key_and_the_value(values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput) as mistake:
        checked(House, values)
    assert said in str(mistake.value)
