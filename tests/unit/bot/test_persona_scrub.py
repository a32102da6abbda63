"""What is taken out of a chat before anything is learned from it."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from bot.personas.errors import PersonaError
from bot.personas.names import STAND_INS, Names
from bot.personas.people import People, Pseudonyms, consenting, read_consent
from bot.personas.reading import LONGEST_TALK, Export, Tally, learned_dialogues, people_in
from bot.personas.scrub import Scrubber
from bot.training.corpora.dialogue import Dialogue
from tests.unit.bot.persona_chats import Chat, animals

PEOPLE = People(
    Counter({"1": 30, "2": 20, "3": 10, "4": 1}),
    {"1": ("Rosie",), "2": ("Alice Smith", "ali_99"), "3": ("Will Grant",), "4": ("Jean-Luc",)},
)
KEY = Pseudonyms(bytes(32))
NAMES = Names.of(PEOPLE, KEY, learned="1", persona="Rosie")


def scrubbed(text: str) -> tuple[str, dict[str, int]]:
    scrubber = Scrubber(NAMES)
    return scrubber.scrub(text).text, dict(scrubber.found)


@pytest.mark.parametrize(
    ("text", "left", "kind"),
    [
        ("mail a.b+c@example.co.uk now", "mail an address now", "e-mail"),
        ("me [at] example [dot] org", "an address", "e-mail"),
        ("call +44 20 7946 0958!", "call a number!", "phone"),
        ("(212) 555-0123 is mine", "a number is mine", "phone"),
        ("see https://x.org/a?b=c ok", "see a link ok", "link"),
        ("see www.example.org ok", "see a link ok", "link"),
        ("join discord.gg/abc", "join a link", "link"),
        ("card 4111 1111 1111 1111", "card a number", "card"),
        ("to GB82 WEST 1234 5698 7654 32", "to a number", "iban"),
        ("account 12345678", "account a number", "number"),
        ("at 12 Baker Street today", "at an address today", "address"),
        ("12b Old Mill Rd.", "an address", "address"),
        ("Hauptstraße 5", "an address", "address"),
        ("12 rue de la Paix", "an address", "address"),
        ("it's NW1 6XE", "it's an address", "address"),
        ("password: hunter22", "password: something private", "password"),
    ],
)
def test_what_somebody_could_be_found_by_becomes_a_plain_word(text: str, left: str, kind: str) -> None:
    assert scrubbed(text) == (left, {kind: 1})
    assert Scrubber(NAMES).scrub(text).is_private


@pytest.mark.parametrize(
    "text",
    [
        "it's 10:30, and 1500 people came in 1984",
        "I ran 5 miles in the park",
        "will you come? I may, and the grant is big",
        "Will you come? Grant me that",
        "Rosie is my name",
        "3 cats, 2 dogs: 100% fun!",
    ],
)
def test_what_is_nobodys_business_stays(text: str) -> None:
    assert scrubbed(text) == (text, {})


def test_the_same_person_has_the_same_other_name_however_they_are_called() -> None:
    name = scrubbed("Alice Smith")[0]
    assert name in STAND_INS
    for text in ("Alice", "Smith", "Ali_99", "@Alice Smith", "ALICE"):
        assert scrubbed(text)[0] == name
    assert scrubbed("alice, why?")[0] == f"{name.lower()}, why?"
    assert scrubbed("Hey Will!")[0].removeprefix("Hey ").removesuffix("!") not in ("Will", name)
    assert len({scrubbed(one)[0] for one in ("Alice", "Hi Will!", "Jean")}) == 3


def test_no_invented_name_is_a_real_one() -> None:
    everybody = People(Counter({"1": 1, "2": 1}), {"1": ("Rosie",), "2": (" ".join(STAND_INS[:-1]),)})
    names = Names.of(everybody, KEY, learned="1", persona="Rosie")
    assert names.replaced("Robin and Kim", Counter()) == f"{STAND_INS[-1]} and {STAND_INS[-1]}"


def test_the_speakers_name_becomes_the_personas() -> None:
    names = Names.of(PEOPLE, KEY, learned="1", persona="Nell")
    assert names.replaced("hi rosie, Rosie!", Counter()) == "hi nell, Nell!"


def test_mentions_go() -> None:
    assert scrubbed("@bob99 yes, tell @carl.x that") == ("yes, tell somebody that", {"mention": 2})
    assert scrubbed("<@!123456789012345678> hi") == ("hi", {"mention": 1})


def test_pseudonyms_are_the_same_for_the_same_key_and_only_for_it(tmp_path: Path) -> None:
    kept = Pseudonyms.kept_in(tmp_path / "key")
    assert Pseudonyms.kept_in(tmp_path / "key") == kept
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert kept.of("2") == kept.of("2") != kept.of("3")
    assert kept.of("2") != Pseudonyms.kept_in(tmp_path / "other").of("2")


def test_consent_is_a_list_of_names_or_ids(tmp_path: Path) -> None:
    file = tmp_path / "agreed.txt"
    file.write_text("\ufeffrosie   # by mail\n\n# nobody else\n3\n")
    named = read_consent(file)
    assert named == ["rosie", "3"]
    assert consenting(PEOPLE, Path("x"), "Rosie", named) == ("1", frozenset({"1", "3"}))


@pytest.mark.parametrize(
    ("speaker", "named", "said"),
    [
        ("Bob", ["Bob"], "nobody called 'Bob' writes in it. Those who do: Rosie (30), ali_99 (20), Will Grant (10)"),
        ("Rosie", ["Alice Smith"], "Rosie has to agree to becoming a persona"),
        ("Rosie", ["Rosie"], "Only Rosie agreed"),
        ("Rosie", ["Rosie", "Bob"], "nobody called 'Bob'"),
    ],
)
def test_without_consent_nothing_is_learned(speaker: str, named: list[str], said: str) -> None:
    with pytest.raises(PersonaError) as refused:
        consenting(PEOPLE, Path("x"), speaker, named)
    assert said in str(refused.value)


def test_two_of_one_name_are_told_apart_by_their_ids() -> None:
    twins = People(Counter({"1": 1, "2": 1}), {"1": ("Ann",), "2": ("ann",)})
    with pytest.raises(PersonaError, match=r"2 people are called Ann\. Give the id: 1, 2"):
        twins.identified("Ann", Path("x"))
    assert twins.identified("2", Path("x")) == "2"


def dialogues(folder: Path, chat: Chat, agreed: set[str]) -> tuple[list[Dialogue], Tally]:
    export = Export.named(str(chat.write(folder / "result.json")))
    names = Names.of(people_in(export), KEY, learned="user1", persona="Rosie")
    tally = Tally()
    found = learned_dialogues(
        export,
        learned="user1",
        agreed=frozenset(agreed),
        scrubber=Scrubber(names),
        gap=timedelta(hours=1),
        tally=tally,
    )
    return list(found), tally


def test_lines_of_those_who_did_not_agree_and_the_answers_to_them_are_left_out(tmp_path: Path) -> None:
    chat = Chat()
    for name, text in [
        ("Alice Smith", "do you like tea?"),
        ("Rosie", "I do."),
        ("Carl Dreyer", "I have a disease."),
        ("Rosie", "What disease is it?"),
        ("Alice Smith", "and coffee?"),
        ("Rosie", "Not at all."),
    ]:
        chat.say(name, text)
    found, tally = dialogues(tmp_path, chat, {"user1", "user2"})
    assert [one.turns for one in found] == [("do you like tea?", "I do."), ("and coffee?", "Not at all.")]
    assert tally.left_out == {"no consent": 1, "answers to those without consent": 1}
    assert tally.kept == 4


def test_the_speakers_private_lines_are_not_learned_others_stay_as_context(tmp_path: Path) -> None:
    chat = Chat()
    for name, text in [
        ("Alice Smith", "mine is a@example.org"),
        ("Rosie", "thanks!"),
        ("Alice Smith", "and yours?"),
        ("Rosie", "r@example.org"),
        ("Alice Smith", "got it"),
        ("Rosie", "good"),
    ]:
        chat.say(name, text)
    found, tally = dialogues(tmp_path, chat, {"user1", "user2"})
    assert [one.turns for one in found] == [("mine is an address", "thanks!"), ("got it", "good")]
    assert tally.left_out == {"private lines of the speaker": 1}


def test_every_talk_begins_with_a_person_ends_with_the_speaker_and_is_short(tmp_path: Path) -> None:
    chat = Chat()
    chat.say("Rosie", "anybody here?")
    for turn in range(20):
        chat.say("Alice Smith", f"is it {turn}?")
        chat.say("Rosie", f"it is {turn}")
    chat.say("Alice Smith", "bye")
    found, _ = dialogues(tmp_path, chat, {"user1", "user2"})
    assert [len(one.turns) for one in found] == [LONGEST_TALK, LONGEST_TALK, LONGEST_TALK, 4]
    assert not any(one.bot_opens for one in found)
    assert found[0].turns[:2] == ("is it 0?", "it is 0")
    assert found[-1].turns[-1] == "it is 19"


def test_long_turns_make_short_talks(tmp_path: Path) -> None:
    chat = Chat()
    for _ in range(4):
        chat.say("Alice Smith", "well, " * 50)
        chat.say("Rosie", "yes, " * 50)
    found, _ = dialogues(tmp_path, chat, {"user1", "user2"})
    assert [len(one.turns) for one in found] == [2, 2, 2, 2]


def test_what_moderation_would_never_post_is_not_learned(tmp_path: Path) -> None:
    chat = Chat()
    for name, text in [
        ("Alice Smith", "hi"),
        ("Rosie", "hello"),
        ("Alice Smith", "what?"),
        ("Rosie", "go and kill yourself"),
        ("Alice Smith", "ok"),
        ("Rosie", "sorry"),
    ]:
        chat.say(name, text)
    found, tally = dialogues(tmp_path, chat, {"user1", "user2"})
    assert [one.turns for one in found] == [("hi", "hello"), ("ok", "sorry")]
    assert tally.left_out == {"what moderation would never post": 1}


def test_only_exports_of_chats_become_personas(tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    file.write_text('{"turns": ["hi", "hello"]}\n')
    with pytest.raises(PersonaError, match="export of a chat"):
        Export.named(str(file))


def test_an_export_has_another_fingerprint_when_a_message_is_added(tmp_path: Path) -> None:
    one = Export.named(str(animals(1).write(tmp_path / "one.json"))).fingerprint()
    two = Export.named(str(animals(2).write(tmp_path / "two.json"))).fingerprint()
    assert one != two
