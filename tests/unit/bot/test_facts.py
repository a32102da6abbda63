"""A persona's facts: another value in the same frame contradicts, anything else does not."""

import pytest

from bot.facts import contradicts

FACTS = ["My name is Rosie.", "I am 20 years old", "I live in Lisbon.", "My favourite food is ramen"]


@pytest.mark.parametrize(
    "reply",
    ["Hi, my name is Anna.", "I am 35 years old!", "I live in Berlin, you know.", "My favorite food is pizza and tea."],
)
def test_another_value_contradicts(reply: str) -> None:
    assert contradicts(reply, FACTS)


@pytest.mark.parametrize(
    "reply",
    ["My name is Rosie!", "I'm 20 years old.", "I live in Lisbon and love it.", "I am happy.", "Lisbon is far.", ""],
)
def test_the_same_value_or_another_subject_does_not(reply: str) -> None:
    assert not contradicts(reply, FACTS)


def test_without_facts_nothing_contradicts() -> None:
    assert not contradicts("My name is Anna.", [])
