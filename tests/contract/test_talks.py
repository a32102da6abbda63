"""Whole conversations are handed out page by page, in the order of the transcript."""

from adapters.base import Channel
from storage import inbox, people, places
from storage.talks import read_talks
from tests.contract.world import ANN, BOB, World


async def lines(world: World, after: int = 0, limit: int = 10) -> list[list[tuple[str | None, str]]]:
    talks = await world.store.read(read_talks, after, limit)
    return [[(line.author_id, line.text) for line in talk.lines] for talk in talks]


def author(channel: Channel) -> str:
    return f"author-of-{channel.address}"


async def test_a_talk_has_what_both_sides_said(world: World) -> None:
    await world.converse(ANN, "Hi", "Hello.")
    await world.converse(ANN, "Well?", "Fine.")
    (talk,) = await world.store.read(read_talks, 0, 10)
    assert talk.platform == "telegram"
    assert [(line.author_id, line.text) for line in talk.lines] == [
        (author(ANN), "Hi"),
        (None, "Hello."),
        (author(ANN), "Well?"),
        (None, "Fine."),
    ]
    assert talk.lines[0].turn_id == talk.lines[1].turn_id != talk.lines[2].turn_id


async def test_talks_come_in_pages_and_a_reset_begins_another(world: World) -> None:
    await world.converse(ANN, "One", "1.")
    await world.store.write(places.reset_conversation, ANN)
    await world.converse(ANN, "Two", "2.")
    await world.converse(BOB, "Three", "3.")
    first = await world.store.read(read_talks, 0, 2)
    rest = await world.store.read(read_talks, first[-1].conversation_id, 2)
    assert [talk.lines[0].text for talk in (*first, *rest)] == ["One", "Two", "Three"]
    assert await world.store.read(read_talks, rest[-1].conversation_id, 2) == []


async def test_what_was_deleted_or_forgotten_has_no_text(world: World) -> None:
    await world.converse(ANN, "Secret", "Secret indeed.")
    await world.store.write(people.forget_person, "telegram", author(ANN))
    assert [[text for _, text in talk] for talk in await lines(world)] == [["", ""]]
    await world.converse(BOB, "Oops", "What?")
    (_, talk) = await world.store.read(read_talks, 0, 10)
    await world.store.write(inbox.delete_messages, BOB, ["102"])
    assert [text for _, text in (await lines(world))[1]] == ["", "What?"]
    assert talk.lines[0].text == "Oops"


async def test_a_store_without_talks_has_no_page(world: World) -> None:
    assert await lines(world) == []
