"""A scope holds states for its layers, for as long as it lasts."""

import pytest

from keras_titans.layers.carried_states import carried_for
from keras_titans.layers.carried_states import carrying


def test_a_layer_finds_its_state_and_leaves_another():
    one, other, stranger = object(), object(), object()
    with carrying([one, other], ["a", "b"], mask="mask") as carried:
        assert carried_for(other)[other] == "b"
        assert carried_for(other).mask == "mask"
        assert carried_for(stranger) is None
        carried_for(other)[other] = "c"
    assert carried.states == ["a", "c"]
    assert carried_for(one) is None


def test_the_innermost_scope_counts():
    layer = object()
    with carrying([layer], ["outer"]):
        with carrying([layer], ["inner"]):
            assert carried_for(layer)[layer] == "inner"
        assert carried_for(layer)[layer] == "outer"


def test_a_scope_that_fails_is_closed():
    layer = object()
    with pytest.raises(ZeroDivisionError):
        with carrying([layer], ["a"]):
            raise ZeroDivisionError
    assert carried_for(layer) is None


def test_each_layer_needs_a_state():
    with pytest.raises(ValueError, match="zip"):
        with carrying([object()], []):
            pass
