"""Settings: what users type is checked, named and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.core.errors import SettingsError
from matinee.core.settings import build, from_json, setting, to_json
from matinee.core.task import Task
from matinee.core.train_settings import TrainSettings


@dataclass(frozen=True)
class Dials:
    dropout: float = setting(0.0, "dropout is a share of units", low=0, high=0.9)
    size: int | None = setting(None, "side", low=1, high=64)
    shape: str = setting("round", "form", choices={"round": ("circle",), "square": ()})
    loud: bool = setting(False, "noise")
    names: tuple[str, ...] = ()


def test_an_error_says_what_was_given_what_is_allowed_and_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"^--dropout 1\.7: dropout is a share of units, from 0 to 0\.9\.$"):
        build(Dials, {"dropout": "1.7"})
    with pytest.raises(SettingsError, match="Did you mean --dropout"):
        build(Dials, {"dropuot": 1})
    with pytest.raises(SettingsError, match="Did you mean square"):
        build(Dials, {"shape": "sqare"})


@pytest.mark.parametrize(
    ("word", "hint"),
    [("Sqare", "Did you mean square"), ("circle-2", "Did you mean round"), ("spare", ""), ("cube", "")],
)
def test_only_what_is_near_or_meant_is_suggested(word: str, hint: str) -> None:
    with pytest.raises(SettingsError, match="one of round, square") as error:
        build(Dials, {"shape": word})
    assert hint in str(error.value) and ("Did you mean" in str(error.value)) == bool(hint)


@pytest.mark.parametrize("value", ["many", "1.5", 2.5, True, "", [], {}, float("nan")])
def test_a_wrong_type_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError):
        build(Dials, {"size": value})


@pytest.mark.parametrize(("value", "kept"), [("auto", None), (None, None), ("7", 7), (7.0, 7)])
def test_auto_and_text_are_understood(value: Any, kept: int | None) -> None:
    assert build(Dials, {"size": value}).size == kept


def test_facts_are_no_settings_but_are_recorded() -> None:
    with pytest.raises(SettingsError, match="no such setting"):
        build(Dials, {"names": ("a",)})
    dials = Dials(names=("a", "b"), dropout=0.5)
    assert from_json(Dials, to_json(dials)) == dials
    with pytest.raises(SettingsError):
        from_json(Dials, {"names": "abc"})
    with pytest.raises(SettingsError, match="newer"):
        from_json(Dials, {"colour": "red"})


@given(
    st.dictionaries(
        st.sampled_from(["dropout", "size", "shape", "loud", "names", "x"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=3)),
    )
)
def test_any_json_is_read_or_refused(values: dict[str, Any]) -> None:
    try:
        dials = from_json(Dials, values)
    except SettingsError:
        return
    assert 0 <= dials.dropout <= 0.9 and dials.shape in ("round", "square")


def test_advice_fills_only_what_was_left_open() -> None:
    advised = TrainSettings(epochs=3, learning_rate=0.5).advised({"learning_rate": 0.1, "batch_size": 9, "epochs": 50})
    assert (advised.epochs, advised.learning_rate, advised.batch_size, advised.minutes) == (3, 0.5, 9, None)
    timed = TrainSettings(minutes=2).advised({"epochs": 50})
    assert (timed.epochs, timed.minutes) == (None, 2)
    both = TrainSettings().advised({"epochs": 50})
    assert both.epochs == 50 and both.minutes is not None


def test_a_field_must_not_be_called_like_a_question_of_the_contract() -> None:
    with pytest.raises(SettingsError, match=r"Loud: effort is a question of the contract .* another name"):

        class Loud(Task):
            effort: float = setting(1.0, "how loud")

    class Quiet(Task):
        layout: ClassVar[str] = "what it looks like"
        valid_share: float = 0.2
        loudness: float = 0.0
