"""The admin's lists and what is said about mistakes in them."""

import pytest
from pydantic import ValidationError

from moderation.policy import LinkSettings, ModerationError, ModerationSettings, Moderator, WordLists, load_moderator
from moderation.verdict import Action, Category
from tests.unit.moderation.conftest import judge_reply


def with_words(*, block: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> Moderator:
    return load_moderator(ModerationSettings(words=WordLists(block=list(block), allow=list(allow))))


@pytest.mark.parametrize(
    ("pattern", "found", "missed"),
    [
        ("zorp", "a Zorp!", "zorps"),
        ("zorp*", "zorping", "azorp"),
        ("*zorp", "megazorp", "zorpa"),
        ("*zorp*", "megazorpian", "zor p"),
        ("blue zorp", "a blue, zorp", "blue green zorp"),
        ("C++ (zorp)", "c++ zorp", "c d"),
    ],
)
def test_admin_words_block_with_wildcards(pattern: str, found: str, missed: str) -> None:
    moderator = with_words(block=(pattern,))
    verdict = judge_reply(moderator, found)
    assert (verdict.action, verdict.category, verdict.rule) == (Action.BLOCK, Category.CUSTOM, "words.block:1")
    assert judge_reply(moderator, missed).action is Action.ALLOW


def test_admin_words_are_found_under_spelling_tricks() -> None:
    moderator = with_words(block=("zorp",))
    for text in ("z0rp", "z o r p", "zoooorp", "z*rp", "ｚｏｒｐ", "zоrр"):
        assert judge_reply(moderator, text).category is Category.CUSTOM, text


def test_admin_words_of_any_script_are_found() -> None:
    moderator = with_words(block=("дурак", "馬鹿"))
    assert judge_reply(moderator, "он ДУРАК").category is Category.CUSTOM
    assert judge_reply(moderator, "馬鹿").category is Category.CUSTOM


def test_allowed_words_pass_the_lists() -> None:
    assert judge_reply(with_words(), "that ass").action is Action.BLOCK
    assert judge_reply(with_words(allow=("ass",)), "that ass").action is Action.ALLOW


@pytest.mark.parametrize("pattern", ["", "***", "?!", "ca*t", "two cats*"])
def test_unusable_words_are_named_with_a_remedy(pattern: str) -> None:
    with pytest.raises(ModerationError, match=r"moderation\.words\.block, entry 2.*write"):
        with_words(block=("fine", pattern))


def test_a_star_in_an_allowed_word_is_named() -> None:
    with pytest.raises(ModerationError, match=r"moderation\.words\.allow, entry 1"):
        with_words(allow=("cat*",))


@pytest.mark.parametrize("domain", ["https://example.org", "example", "exa mple.org", "example.org/path", ""])
def test_a_link_that_is_no_domain_is_named(domain: str) -> None:
    with pytest.raises(ModerationError, match=r"moderation\.links\.allow"):
        load_moderator(ModerationSettings(links=LinkSettings(allow=[domain])))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        ModerationSettings.model_validate({"profil": "family"})


def test_the_revision_changes_with_settings_and_only_with_them() -> None:
    revisions = {
        load_moderator(settings).revision
        for settings in (
            ModerationSettings(),
            ModerationSettings(),
            ModerationSettings(profile="family"),
            ModerationSettings(words=WordLists(block=["zorp"])),
        )
    }
    assert len(revisions) == 3


def test_rules_do_not_name_the_matched_word() -> None:
    verdict = judge_reply(with_words(block=("zorp",)), "zorp")
    assert verdict.rule is not None
    assert "zorp" not in verdict.rule
