"""Composing a reply: what is generated is guarded, moderated, scored and chosen - as values, without a model."""

from collections.abc import Sequence

import pytest

from adapters.base import Channel, ChannelKind
from bot.config import ChannelSettings, Config, RankerHead
from bot.context import Context, build_context
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.dialects.base import Utterance
from bot.reply import Ports, compose_reply, safe_line, stricter, turn_seed
from moderation.policy import Moderator, load_moderator
from storage.records import Line

CHANNEL = Channel(platform="terminal", address="a", kind=ChannelKind.PRIVATE)


def settings(**sections: object) -> ChannelSettings:
    return Config.model_validate(sections).for_channel(CHANNEL)


def moderator(one: ChannelSettings) -> Moderator:
    return load_moderator(one.moderation.rules())


def candidate(text: str, log_prob: float = -4.0, *, finished: bool = True) -> Candidate:
    return Candidate(token_ids=tuple(range(4)), text=text, log_prob=log_prob, finished=finished)


class Model:
    """Says what it is told to, a list for each round, and scores by a table."""

    def __init__(self, *rounds: Sequence[Candidate], scores: dict[str, float] | None = None) -> None:
        self.rounds = list(rounds)
        self.scores = scores
        self.requests: list[GenerationRequest] = []

    def ports(self) -> Ports:
        return Ports(encode=lambda _context: (1, 2, 3), generate=self._generate, score=self._score)

    async def _generate(self, request: GenerationRequest) -> Sequence[Candidate]:
        self.requests.append(request)
        return self.rounds[len(self.requests) - 1]

    async def _score(self, head: RankerHead, turns: Sequence[str], replies: Sequence[str]) -> Sequence[float] | None:
        return None if self.scores is None else [self.scores.get(reply, 0.1) for reply in replies]


async def composed(model: Model, said: str = "hello", earlier: Sequence[str] = (), **sections: object):
    one = settings(**sections)
    context = Context(utterances=[Utterance(1, said)], said=said, earlier_replies=earlier)
    return await compose_reply(context, one, moderator(one), model.ports(), seed=7)


async def test_the_ranker_chooses() -> None:
    model = Model(
        [candidate("Fine weather.", -1.0), candidate("Hi, nice to see you!", -8.0)],
        scores={"Hi, nice to see you!": 0.9, "Fine weather.": 0.1},
    )
    reply = await composed(model)
    assert reply.text == "Hi, nice to see you!"
    assert [one.chosen for one in reply.judged] == [False, True]
    assert reply.judged[1].scores["human_vs_rand"] == 0.9


async def test_without_a_ranker_the_likeliest_is_chosen() -> None:
    reply = await composed(Model([candidate("Rare words.", -9.0), candidate("Good to hear!", -2.0)]))
    assert reply.text == "Good to hear!"


async def test_the_first_of_equals_is_chosen() -> None:
    reply = await composed(Model([candidate("One way."), candidate("Other way.")]))
    assert reply.text == "One way."


async def test_faulty_candidates_are_kept_with_their_reason() -> None:
    model = Model(
        [
            candidate(""),
            candidate("hello"),
            candidate("...?"),
            candidate("Good to hear!", -9.0),
            candidate("never ends and never", finished=False),
        ]
    )
    reply = await composed(model)
    assert reply.text == "Good to hear!"
    assert [one.dropped for one in reply.judged] == ["empty", "echo", "punctuation", None, "unfinished"]


async def test_an_unfinished_reply_keeps_its_whole_sentences() -> None:
    reply = await composed(Model([candidate("I like tea. And also the", finished=False)]))
    assert reply.text == "I like tea."


async def test_what_moderation_blocks_is_never_chosen() -> None:
    model = Model([candidate("Come to https://evil.example now", -0.1), candidate("Maybe later.", -20.0)])
    reply = await composed(model)
    assert reply.text == "Maybe later."
    assert reply.judged[0].dropped == "moderation: link"


async def test_when_all_are_dropped_it_samples_again_under_stronger_constraints() -> None:
    model = Model([candidate("hello"), candidate("")], [candidate("Nice to meet you.")])
    reply = await composed(model)
    assert reply.text == "Nice to meet you."
    assert reply.rounds == 2
    first, second = model.requests
    assert second.seed != first.seed
    assert second.decoding.candidates > first.decoding.candidates
    assert second.decoding.top_p < first.decoding.top_p


async def test_when_nothing_is_left_the_persona_says_a_safe_line() -> None:
    lines = ["Let us talk about birds."]
    reply = await composed(Model([candidate("")], [candidate("")]), personas={"default": {"safe_lines": lines}})
    assert (reply.text, reply.reason) == ("Let us talk about birds.", "safe line")


async def test_a_configuration_may_prefer_silence() -> None:
    reply = await composed(Model([candidate("")]), moderation={"on_all_blocked": "silent"})
    assert reply.text is None
    assert reply.reason == "every candidate was dropped"


async def test_a_safe_line_is_never_said_twice_in_a_row() -> None:
    lines = ("One.", "Two.", "Three.")
    for seed in range(20):
        assert safe_line(lines, ["Two."], seed) != "Two."
    assert safe_line(("Only.",), ["Only."], 3) == "Only."


async def test_repeating_oneself_costs_points() -> None:
    said_before = "I like tea and long walks by the sea"
    model = Model([candidate(f"{said_before} today", -2.0), candidate("How was your day?", -2.4)])
    reply = await composed(model, earlier=[said_before])
    assert reply.text == "How was your day?"


async def test_contradicting_the_persona_costs_points() -> None:
    model = Model([candidate("My name is Bob.", -2.0), candidate("I am Rosie.", -2.4)])
    reply = await composed(model, personas={"default": {"facts": ["My name is Rosie."]}})
    assert reply.text == "I am Rosie."


async def test_the_same_inputs_give_the_same_reply_and_record() -> None:
    def model() -> Model:
        return Model([candidate("A."), candidate("Bee."), candidate("See.")], scores={"Bee.": 0.8})

    first, second = await composed(model()), await composed(model())
    assert first.text == second.text
    assert [one.final for one in first.judged] == [one.final for one in second.judged]


def test_constraints_only_grow_stronger() -> None:
    decoding = settings().decoding
    assert stricter(decoding, 0) == decoding
    tight = stricter(decoding, 1)
    assert tight.top_p <= decoding.top_p
    assert tight.repetition_penalty >= decoding.repetition_penalty


def test_a_turns_seed_is_its_own_and_fits_63_bits() -> None:
    assert turn_seed(1, 5.0) == turn_seed(1, 5.0)
    assert len({turn_seed(turn, 5.0) for turn in range(1000)}) == 1000
    assert all(0 <= turn_seed(turn, 1e9) < 2**63 for turn in range(1000))


def _context(lines: Sequence[Line], *, one_line: bool = True, **sections: object) -> Context:
    one = settings(**sections)
    return build_context(lines, one.persona, one.history.turns or 8, one_line=one_line)


def test_lines_of_one_author_in_a_row_are_one_turn() -> None:
    context = _context([Line("u", "hi", True), Line("u", "how are you?", True)])
    assert context.utterances == [Utterance(1, "hi how are you?")]
    assert context.said == "hi how are you?"


def test_a_line_break_stays_but_for_models_that_never_saw_one() -> None:
    lines = [Line("u", "print(1)\n\tprint(2)", True)]
    assert _context(lines, one_line=False).utterances == [Utterance(1, "print(1)\n\tprint(2)")]
    assert _context(lines, one_line=True).utterances == [Utterance(1, "print(1) \tprint(2)")]


def test_people_are_numbered_by_appearance_and_the_bot_is_zero() -> None:
    lines = [Line("ann", "hi", False), Line("bob", "hey", False), Line(None, "Hello.", False), Line("ann", "ok", True)]
    assert [one.speaker for one in _context(lines).utterances] == [1, 2, 0, 1]


def test_only_the_newest_turns_are_read() -> None:
    lines = [Line("ann" if number % 2 == 0 else None, str(number), False) for number in range(30)]
    context = _context(lines, history={"turns": 4})
    assert [one.text for one in context.utterances] == ["26", "27", "28", "29"]


def test_a_personas_opening_stands_before_the_talk() -> None:
    context = _context([Line("u", "hi", True)], personas={"default": {"opening": ["who are you?", "I'm Rosie."]}})
    assert context.utterances == [Utterance(1, "who are you?"), Utterance(0, "I'm Rosie."), Utterance(1, "hi")]


@pytest.mark.parametrize("text", ["<|endoftext|>", "\x00", "a" * 5000])
def test_any_text_makes_a_context(text: str) -> None:
    assert _context([Line("u", text, True)]).utterances[-1].text == text


def test_a_line_break_is_a_space_to_the_model() -> None:
    assert _context([Line("u", "a\u2028b\nc", True)]).utterances == [Utterance(1, "a b c")]


def test_a_persona_is_told_to_the_models_that_read_one() -> None:
    context = _context([Line("u", "hi", True)], personas={"default": {"name": "Rosie", "facts": ["I sail."]}})
    assert context.persona == ["My name is Rosie.", "I sail."]
