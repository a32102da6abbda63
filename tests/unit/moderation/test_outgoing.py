"""What the bot may post: words by profile, hygiene, and the reply judged as a pair with what was said."""

import pytest

from moderation.policy import LinkSettings, ModerationSettings, Moderator, load_moderator
from moderation.verdict import Action, Category
from tests.unit.moderation.conftest import judge_reply, read_jsonl


def test_profiles_differ_in_strong_and_mild_language(
    moderator: Moderator, adult_moderator: Moderator, family_moderator: Moderator
) -> None:
    def blocked(text: str) -> tuple[bool, bool, bool]:
        every = (adult_moderator, moderator, family_moderator)
        return tuple(judge_reply(one, text).action is Action.BLOCK for one in every)  # type: ignore[return-value]

    assert blocked("a lovely day") == (False, False, False)
    assert blocked("damn, that is stupid") == (False, False, True)
    assert blocked("fuck, that hurts") == (False, True, True)
    assert blocked("I will kill you") == (True, True, True)
    assert blocked("you filthy faggots") == (True, True, True)


@pytest.mark.parametrize(
    "text",
    [
        "see http://example.com/x",
        "HTTPS://EXAMPLE.COM",
        "ftp://example.com",
        "go to www.example.org now",
        "try example.com",
        "short: bit.ly/abc",
        "tg://resolve?domain=x",
        "mailto:x",
    ],
)
def test_links_are_not_posted(moderator: Moderator, text: str) -> None:
    assert judge_reply(moderator, text).action is Action.BLOCK


@pytest.mark.parametrize(
    "text",
    ["join discord.gg/abc", "t.me/joinchat/abc", "https://discord.com/invite/x", "discord dot gg/abc", "t.me/+ab"],
)
def test_invites_are_not_posted(moderator: Moderator, text: str) -> None:
    verdict = judge_reply(moderator, text)
    assert (verdict.action, verdict.category) == (Action.BLOCK, Category.INVITE)


def test_links_to_allowed_domains_are_posted_but_never_masked() -> None:
    moderator = load_moderator(ModerationSettings(links=LinkSettings(allow=["example.org"])))
    assert judge_reply(moderator, "see https://docs.example.org/a").action is Action.ALLOW
    assert judge_reply(moderator, "see https://example.org.evil.com/a").action is Action.BLOCK
    assert judge_reply(moderator, "see https://example.org@evil.com/a").action is Action.BLOCK
    assert judge_reply(moderator, "see [this](https://example.org/a)").category is Category.MARKUP


@pytest.mark.parametrize(
    "text", ["node.js is fine", "e.g. this, i.e. that", "wait...what", "at 5.30 p.m.", "ok.so be it"]
)
def test_dots_between_words_are_no_links(moderator: Moderator, text: str) -> None:
    verdict = judge_reply(moderator, text)
    assert (verdict.action, verdict.text) == (Action.ALLOW, text)


@pytest.mark.parametrize(
    ("reply", "posted"),
    [
        ("hi @everyone", "hi everyone"),
        ("hi @\u200beveryone and @here", "hi everyone and here"),
        ("@alice_example hi", "alice_example hi"),
        ("@@bob", "bob"),
        ("ask <@!123456789012345678> or <@&1> in <#2>, ok", "ask  or  in , ok"),
        ("<<@1>@2>hi", "<2>hi"),
        ("/start now", "start now"),
        ("#hashtag stays, 5 @ 3 too", "#hashtag stays, 5 @ 3 too"),
    ],
)
def test_mentions_and_commands_lose_their_power(moderator: Moderator, reply: str, posted: str) -> None:
    verdict = judge_reply(moderator, reply)
    assert (verdict.action, verdict.text) == (Action.ALLOW, posted)


def test_taking_pings_out_builds_no_listed_word(moderator: Moderator) -> None:
    assert judge_reply(moderator, "fu<@1>ck").action is Action.BLOCK
    assert judge_reply(moderator, "ni<@1>gg<@2>er").action is Action.BLOCK


@pytest.mark.parametrize("text", ["", "\u2800", "\u3164\u200b", "<@123>", "\u202e", "\ufe0f", "\u0301"])
def test_empty_looking_replies_are_not_posted(moderator: Moderator, text: str) -> None:
    verdict = judge_reply(moderator, text)
    assert (verdict.action, verdict.category) == (Action.BLOCK, Category.EMPTY)


def test_controls_and_direction_overrides_are_stripped(moderator: Moderator) -> None:
    assert judge_reply(moderator, "a\u202eb\u0007c\u2066d\x1b[31m").text == "abcd[31m"


def test_secrets_block_and_personal_data_is_redacted(moderator: Moderator) -> None:
    secret = judge_reply(moderator, "it is ghp_abcdefghijklmnopqrstuvwxyz0123456789")
    assert (secret.action, secret.category) == (Action.BLOCK, Category.SECRET)
    personal = judge_reply(moderator, "mail jo@example.com")
    assert (personal.action, personal.text) == (Action.REDACT, "mail [e-mail]")


@pytest.mark.parametrize("reply", ["yes", "I totally agree", "haha so true", "You're right!", "tell me more", "ok"])
def test_agreement_with_hate_is_blocked(moderator: Moderator, reply: str) -> None:
    verdict = judge_reply(moderator, reply, said="all immigrants are criminals")
    assert (verdict.action, verdict.rule) == (Action.BLOCK, "pair:agreement")
    assert judge_reply(moderator, reply, said="all cats are lovely").action is Action.ALLOW


def test_a_flagged_phrase_is_not_echoed() -> None:
    adult = load_moderator(ModerationSettings(profile="adult_gated"))
    said = "you are a stupid idiot"
    verdict = judge_reply(adult, "did you say you are a stupid idiot?", said=said)
    assert (verdict.action, verdict.rule) == (Action.BLOCK, "pair:echo")


@pytest.mark.parametrize(
    "reply", ["That is not a kind thing to say.", "I don't agree with that.", "Let's talk about music."]
)
def test_disagreement_with_hate_is_posted(moderator: Moderator, reply: str) -> None:
    assert judge_reply(moderator, reply, said="all immigrants are criminals").action is Action.ALLOW


def test_replies_of_the_abuse_set_carry_no_ping_and_no_link(moderator: Moderator) -> None:
    for row in read_jsonl("platform_abuse.jsonl"):
        verdict = judge_reply(moderator, row["text"])
        if row["kind"] == "link":
            assert verdict.action is Action.BLOCK, row
        elif row["kind"] == "mention":
            assert verdict.action is Action.BLOCK or "@" not in verdict.text, row
        elif row["kind"] == "markup":
            assert verdict.text == row["text"], row
