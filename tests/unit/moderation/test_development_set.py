"""Bars on the development set, profile default. Figures are printed: run with `-s` to read them."""

from collections.abc import Callable, Sequence

from moderation.policy import ModerationSettings, Moderator, load_moderator
from moderation.verdict import Action
from tests.unit.moderation.conftest import judge_reply, read_csv, read_jsonl


def percent(name: str, rows: Sequence[dict[str, str]], good: Callable[[dict[str, str]], bool]) -> float:
    missed = [row for row in rows if not good(row)]
    figure = 100 * (len(rows) - len(missed)) / len(rows)
    print(f"\n{name}: {figure:.1f} % of {len(rows)}; not: {[row['text'] for row in missed]}")
    return figure


def blocked(moderator: Moderator, row: dict[str, str]) -> bool:
    return judge_reply(moderator, row["text"]).action is Action.BLOCK


def test_explicit_words_and_threats_are_blocked(moderator: Moderator) -> None:
    rows = read_csv("must_block.csv", tier="rule")
    assert percent("explicit blocked", rows, lambda row: blocked(moderator, row)) >= 95


def test_harmless_english_is_not_blocked(moderator: Moderator) -> None:
    rows = read_csv("must_pass.csv", tier="hard", lang="en")
    assert percent("harmless English kept", rows, lambda row: not blocked(moderator, row)) >= 98


def test_harmless_lines_of_other_languages_are_not_blocked_where_the_language_is_spoken() -> None:
    rows = [row for row in read_csv("must_pass.csv", tier="hard") if row["lang"] != "en"]
    moderators = {
        language: load_moderator(ModerationSettings(languages=["en", language]))
        for language in {row["lang"] for row in rows}
    }
    assert percent("other languages kept", rows, lambda row: not blocked(moderators[row["lang"]], row)) >= 98


def test_spelling_tricks_do_not_hide_words(moderator: Moderator) -> None:
    rows = read_jsonl("evasion.jsonl")
    assert percent("evasions blocked", rows, lambda row: blocked(moderator, row)) >= 92
    for trick in {row["transform"] for row in rows}:
        of_trick = [row for row in rows if row["transform"] == trick]
        assert sum(blocked(moderator, row) for row in of_trick) >= 0.6 * len(of_trick), trick


def test_harmless_words_under_the_same_tricks_pass(moderator: Moderator) -> None:
    rows = read_jsonl("evasion_pass.jsonl")
    assert percent("harmless twins kept", rows, lambda row: not blocked(moderator, row)) >= 97


def test_disclosures_are_told_from_look_alikes(moderator: Moderator) -> None:
    def right(row: dict[str, str]) -> bool:
        return (moderator.check_incoming(row["text"]).action is Action.CRISIS) == (row["expect"] == "crisis")

    assert percent("crisis", read_jsonl("crisis.jsonl"), right) >= 90


def test_secrets_and_personal_data_are_redacted(moderator: Moderator) -> None:
    def gone(row: dict[str, str]) -> bool:
        verdict = moderator.check_incoming(row["text"])
        return verdict.action is Action.REDACT and row["value"] not in verdict.text

    rows = [row for row in read_jsonl("pii_secrets.jsonl") if row["kind"] != "none"]
    secrets = [row for row in rows if row["kind"].split("_")[-1] in {"token", "key", "webhook"}]
    personal = [row for row in rows if row not in secrets]
    assert percent("secrets redacted", secrets, gone) == 100
    assert percent("personal data redacted", personal, gone) >= 95


def test_look_alikes_of_personal_data_stay(moderator: Moderator) -> None:
    rows = [row for row in read_jsonl("pii_secrets.jsonl") if row["kind"] == "none"]
    assert (
        percent("look-alikes kept", rows, lambda row: moderator.check_incoming(row["text"]).text == row["text"]) >= 97
    )
