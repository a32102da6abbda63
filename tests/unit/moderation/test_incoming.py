"""What happens to a person's text before it is stored and shown to the model."""

import pytest

from moderation.policy import Moderator
from moderation.verdict import Action, Category


def test_swearing_is_never_refused(moderator: Moderator, family_moderator: Moderator) -> None:
    for strict in (moderator, family_moderator):
        verdict = strict.check_incoming("what the fuck, my shitty train is late again")
        assert verdict.action is Action.ALLOW
        assert verdict.text == "what the fuck, my shitty train is late again"


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("I will find you and kill you", Category.THREAT),
        ("all muslims are terrorists", Category.HATE),
        ("go kill yourself", Category.SELF_HARM),
        ("you are a worthless piece of garbage", Category.HARASSMENT),
    ],
)
def test_hate_and_threats_are_marked_but_let_through(moderator: Moderator, text: str, category: Category) -> None:
    verdict = moderator.check_incoming(text)
    assert (verdict.action, verdict.category) == (Action.ALLOW, category)
    assert verdict.span is not None


def test_sexual_content_about_minors_is_blocked_in_every_profile(
    moderator: Moderator, adult_moderator: Moderator, family_moderator: Moderator
) -> None:
    for any_profile in (moderator, adult_moderator, family_moderator):
        verdict = any_profile.check_incoming("got any child porn?")
        assert (verdict.action, verdict.category) == (Action.BLOCK, Category.SEXUAL_MINORS)


@pytest.mark.parametrize(
    "text", ["I want to die", "sometimes i wish i was dead", "I'm going to kill myself tonight", "i dont want to live"]
)
def test_a_disclosure_is_a_crisis(moderator: Moderator, text: str) -> None:
    assert moderator.check_incoming(text).action is Action.CRISIS


@pytest.mark.parametrize(
    "text",
    [
        "how do I kill a process with kill -9",
        "I'm dying of laughter",
        "I could die for a coffee",
        "I burned myself cooking",
        "I'm so tired of living in London",
    ],
)
def test_figures_of_speech_are_no_crisis(moderator: Moderator, text: str) -> None:
    assert moderator.check_incoming(text).action is Action.ALLOW


def test_the_crisis_message_comes_from_the_settings_and_invents_no_number(moderator: Moderator) -> None:
    assert not any(character.isdigit() for character in moderator.crisis_reply())


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("write to jo.doe+x@sub.example.co.uk please", "write to [e-mail] please"),
        ("bob (at) example (dot) com", "[e-mail]"),
        ("call +49 30 901820 today", "call [phone] today"),
        ("call (202) 555-0143", "call [phone]"),
        ("card 4242 4242 4242 4242", "card [card]"),
        ("pay to DE89 3704 0044 0532 0130 00", "pay to [iban]"),
        ("my ip is 203.0.113.7", "my ip is [ip address]"),
        ("my ip is 2001:db8::17", "my ip is [ip address]"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [api key]"),
        ("password: hunter22", "password: [password]"),
        ("https://me:s3cr3tpass@example.com/x", "https://me:[password]@example.com/x"),
    ],
)
def test_private_data_is_replaced_by_its_kind(moderator: Moderator, text: str, stored: str) -> None:
    verdict = moderator.check_incoming(text)
    assert (verdict.action, verdict.text) == (Action.REDACT, stored)


@pytest.mark.parametrize(
    "text",
    [
        "it was 21.11.2024, 10:30 to 12:00",
        "that is $1,299.00 or 1.199,00 EUR",
        "python 3.11.4 and firmware 10.4.2.1",
        "the id is 123456789012345678",
        "4242424242424241 fails the checksum",
        "GB83 WEST 1234 5698 7654 32 fails it too",
        "my router has 192.168.1.1 and 127.0.0.1",
        "we won 3-2 after 2-1",
        "ISBN 978-3-16-148410-0",
        "meet me at noon. bring cake",
    ],
)
def test_numbers_that_are_nobodys_secret_stay(moderator: Moderator, text: str) -> None:
    verdict = moderator.check_incoming(text)
    assert (verdict.action, verdict.text) == (Action.ALLOW, text)


def test_invisible_characters_do_not_hide_a_secret(moderator: Moderator) -> None:
    verdict = moderator.check_incoming("card 4242\u200b4242\u2060424242\u00ad42")
    assert verdict.text == "card [card]"


def test_a_threat_with_an_address_is_redacted_and_marked(moderator: Moderator) -> None:
    verdict = moderator.check_incoming("I will kill you, jo@example.com")
    assert (verdict.action, verdict.category) == (Action.REDACT, Category.THREAT)
    assert verdict.text == "I will kill you, [e-mail]"


@pytest.mark.parametrize("text", ["", " \n ", "\u200b\u200d\ufeff", "\u2800\u3164\u115f", "\u202e\u0007"])
def test_a_text_without_anything_to_see_is_marked_empty(moderator: Moderator, text: str) -> None:
    verdict = moderator.check_incoming(text)
    assert (verdict.action, verdict.category, verdict.text) == (Action.ALLOW, Category.EMPTY, "")


@pytest.mark.parametrize("text", ["👍", "👨‍👩‍👧‍👦", "🏴‍☠️", "❤️", "می‌خواهم", "क्‍ष", "1️⃣"])
def test_emoji_and_scripts_that_need_joiners_are_kept(moderator: Moderator, text: str) -> None:
    assert moderator.check_incoming(text).text == text


def test_what_lies_beyond_the_longest_message_is_cut_off(moderator: Moderator) -> None:
    assert len(moderator.check_incoming("word " * 200_000).text) <= 8192
