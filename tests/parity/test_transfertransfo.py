"""TransferTransfo: no recorded numbers exist, so the layout is written a second time here, from the paper's published
description, and transformers' own double-heads classes say what the networks compute.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2DoubleHeadsModel,
    OpenAIGPTConfig,
    OpenAIGPTDoubleHeadsModel,
    OpenAIGPTTokenizer,
)

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, IGNORED, Utterance
from bot.generator.dialects.transfertransfo import SPECIAL_TOKENS, TransferTransfo
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.ranking.ranker import CANDIDATE_HEAD, load_ranker

BYTE_LEVEL = Path(__file__).parent / "devjwsong"  # its vocabulary serves for any GPT-2
POSITIONS = 320
PLENTY = 10**6
PERSON = 1
PERSONA = ("i like dogs .", "i am a nurse .", "my favourite food is soup !")
QUESTIONS = ("Hello, how are you?", "i do not know .", "what is the best way?", "ok")
REPLIES = ("fine , thanks !", "i 'm not sure", "walk", "no")
WORDS = [
    *PERSONA,
    *QUESTIONS,
    *REPLIES,
    "the quick brown fox jumps over the lazy dog",
    "we do n't know what you 're at",
]

torch.set_num_threads(1)


# --- checkpoints as the original's trainer leaves them ------------------------------------------------------------


def sizes(rows: int) -> dict[str, Any]:
    return {
        "vocab_size": rows,
        "n_positions": POSITIONS,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.25,
        "num_labels": 1,
    }


def write_gpt_vocabulary(folder: Path) -> int:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=160, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer.get_vocab_size()


def write_gpt2_vocabulary(folder: Path) -> int:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(BYTE_LEVEL / name, folder)
    return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))


def write_specials(folder: Path, first: int) -> None:
    begin, end, speaker1, speaker2, pad = SPECIAL_TOKENS
    order = (begin, end, pad, speaker1, speaker2)  # as the library adds them
    (folder / "added_tokens.json").write_text(json.dumps({name: first + n for n, name in enumerate(order)}))
    names = {"bos_token": begin, "eos_token": end, "pad_token": pad, "additional_special_tokens": [speaker1, speaker2]}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))


def write_as_long_ago(folder: Path, model: Any, words: int) -> None:
    """The layout of the library's first versions."""
    config = {name: value for name, value in sizes(words).items() if name != "num_labels"}
    family = {"afn": "gelu"} if isinstance(model, OpenAIGPTDoubleHeadsModel) else {}
    (folder / "config.json").write_text(json.dumps({**config, **family, "n_ctx": POSITIONS, "n_special": 5}))
    (folder / "special_tokens.txt").write_text("\n".join(SPECIAL_TOKENS) + "\n")
    state = {
        name.replace("lm_head.", "lm_head.decoder.").replace("head.summary.", "head.linear."): tensor
        for name, tensor in model.state_dict().items()
    }
    state |= {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, POSITIONS, POSITIONS).tril() for n in range(2)}
    torch.save(state, folder / "pytorch_model.bin")


@cache
def reference(kind: str) -> Any:
    """The double-heads model of a kind of checkpoint, on its own."""
    torch.manual_seed(7)
    if kind.startswith("openai"):
        network: Any = OpenAIGPTDoubleHeadsModel(OpenAIGPTConfig(**sizes(ROWS["openai"])))
    else:
        network = GPT2DoubleHeadsModel(GPT2Config(**sizes(ROWS["gpt2"])))
    return network.eval()


ROWS: dict[str, int] = {}
KINDS = ("gpt2", "openai-gpt", "gpt2-old", "openai-gpt-old")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def written(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        words = write_gpt_vocabulary(folder) if kind.startswith("openai") else write_gpt2_vocabulary(folder)
        ROWS[kind.partition("-")[0]] = words + 5
        if kind.endswith("old"):
            write_as_long_ago(folder, reference(kind), words)
        else:
            reference(kind).save_pretrained(folder)
            write_specials(folder, words)
        return folder

    return written


@pytest.fixture(scope="module")
def load(folders: Callable[[str], Path]) -> Callable[[str], Decoder]:
    @cache
    def loaded(kind: str) -> Decoder:
        found = load_generator(str(folders(kind)), device="cpu", dtype="float32")
        assert isinstance(found, Decoder)
        return found

    return loaded


# --- the layout, written from its description ---------------------------------------------------------------------


def special(decoder: Decoder) -> dict[str, int]:
    """The ids of the special tokens, from the checkpoint's own tokenizer."""
    dialect = decoder.dialect
    assert isinstance(dialect, TransferTransfo)
    tokenizer: Any = dialect._tokenizer
    return {name: tokenizer.id_of(name) for name in SPECIAL_TOKENS}


def segments(
    decoder: Decoder, persona: Sequence[str], history: Sequence[str], reply: list[int]
) -> tuple[list[int], list[int]]:
    """Ids and types of one input: the persona, an odd number of turns, the (beginning of the) reply."""
    tokenizer: Any = decoder.dialect._tokenizer  # type: ignore[attr-defined]
    ids = special(decoder)
    first = [ids["<bos>"]]
    for sentence in persona:
        first += tokenizer.encode(sentence)
    parts = [first, *(tokenizer.encode(turn) for turn in history), reply]
    written, types = list(first), [ids["<speaker1>"]] * len(first)
    for number, part in enumerate(parts[1:]):
        # counted from the end: the reply is the first speaker's, the question before it the second's
        speaker = ids["<speaker2>"] if (len(parts) - number) % 2 else ids["<speaker1>"]
        written += [speaker, *part]
        kind = ids["<speaker2>"] if (number + 1) % 2 else ids["<speaker1>"]
        types += [kind] * (len(part) + 1)
    return written, types


def talk(turns: int) -> list[Utterance]:
    """So many turns, the last one a person's."""
    both = [text for pair in zip(QUESTIONS, REPLIES, strict=True) for text in pair]
    first = BOT if turns % 2 == 0 else PERSON
    return [Utterance(BOT if (n + (first == BOT)) % 2 else PERSON, text) for n, text in enumerate(both[:turns])]


def texts_of(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.text for utterance in utterances]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_with_the_five_tokens_is_recognised(folders: Callable[[str], Path], kind: str) -> None:
    checkpoint = open_checkpoint(str(folders(kind)))
    assert (checkpoint.system, checkpoint.dialect) == ("transfertransfo", "transfertransfo")
    assert checkpoint.architecture == ("openai-gpt" if kind.startswith("openai") else "gpt2")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turns", [1, 3, 5, 7])
@pytest.mark.parametrize("persona", [(), PERSONA])
def test_context_types_and_logits_are_the_originals(
    load: Callable[[str], Decoder], kind: str, turns: int, persona: tuple[str, ...]
) -> None:
    decoder = load(kind)
    said = talk(turns)
    ids, types = segments(decoder, persona, texts_of(said), [])
    assert decoder.dialect.encode(said, PLENTY, persona) == ids
    assert decoder.dialect.type_ids(ids) == types
    with torch.inference_mode():
        logits, _ = decoder.model.read([Prompt(tuple(ids), tuple(types))])
        expected = reference(kind)(torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[:, -1]
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=0)


def chat_alone(kind: str, decoder: Decoder, persona: Sequence[str], history: list[str], steps: int) -> list[int]:
    """The likeliest reply by reading everything again for every token; no special token first, any of them ends it."""
    stops = set(special(decoder).values())
    reply: list[int] = []
    for step in range(steps):
        ids, types = segments(decoder, persona, history, reply)
        with torch.no_grad():
            logits = reference(kind)(torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, -1]
        if step == 0:
            logits[sorted(stops)] = -torch.inf
        token = int(logits.argmax())
        if token in stops:
            break
        reply.append(token)
    return reply


def greedy(candidates: int = 1) -> Decoding:
    return TransferTransfo.habits.decoding.model_copy(update={"temperature": 0.0, "candidates": candidates})


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_replies_are_the_originals_also_in_one_batch(load: Callable[[str], Decoder], kind: str) -> None:
    decoder = load(kind)
    cases = [(persona, talk(turns)) for turns in (1, 3) for persona in ((), PERSONA[:1], PERSONA)]
    requests = [
        GenerationRequest(
            input_ids=tuple(decoder.dialect.encode(said, POSITIONS - 20, persona)), decoding=greedy(2), seed=1
        )
        for persona, said in cases
    ]
    for (persona, said), candidates in zip(cases, decoder.generate(requests), strict=True):
        expected = chat_alone(kind, decoder, persona, texts_of(said), 20)
        assert [list(candidate.token_ids) for candidate in candidates] == [expected] * 2


def test_the_chat_programs_own_settings_are_the_habits() -> None:
    habits = TransferTransfo.habits
    assert habits.turns == 5
    assert (habits.decoding.temperature, habits.decoding.top_p, habits.decoding.top_k) == (0.7, 0.9, 0)
    assert (habits.decoding.max_new_tokens, habits.decoding.min_new_tokens) == (20, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_any_special_token_ends_a_reply_but_none_begins_it(load: Callable[[str], Decoder], kind: str) -> None:
    decoder = load(kind)
    assert decoder.dialect.stop_ids == set(special(decoder).values())
    request = GenerationRequest(
        input_ids=tuple(decoder.dialect.encode(talk(1), PLENTY)),
        decoding=TransferTransfo.habits.decoding.model_copy(update={"candidates": 32, "temperature": 5.0}),
        seed=3,
    )
    (candidates,) = decoder.generate([request])
    assert any(candidate.finished for candidate in candidates)
    for candidate in candidates:
        assert candidate.token_ids
        assert not decoder.dialect.stop_ids & set(candidate.token_ids)


# --- where the original contradicts itself ------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [2, 4])
def test_in_a_history_that_begins_with_the_bot_each_turn_has_its_speakers_type(
    load: Callable[[str], Decoder], turns: int
) -> None:
    decoder = load("gpt2")
    ids = special(decoder)
    written = decoder.dialect.encode(talk(turns), PLENTY, PERSONA)
    types = decoder.dialect.type_ids(written)
    assert types is not None
    assert [t for token, t in zip(written, types, strict=True) if token in {ids["<speaker1>"], ids["<speaker2>"]}] == [
        token for token in written if token in {ids["<speaker1>"], ids["<speaker2>"]}
    ]
    assert types[0] == types[-1] == ids["<speaker1>"]


# --- training -----------------------------------------------------------------------------------------------------


def test_the_reply_and_its_end_are_learned(load: Callable[[str], Decoder]) -> None:
    decoder = load("openai-gpt")
    tokenizer: Any = decoder.dialect._tokenizer  # type: ignore[attr-defined]
    reply = [*tokenizer.encode("walk"), special(decoder)["<eos>"]]
    ids, types = segments(decoder, PERSONA, texts_of(talk(3)), reply)
    example = decoder.dialect.example([*talk(3), Utterance(BOT, "walk")], {BOT}, PLENTY, PERSONA)
    assert (list(example.input_ids), list(example.type_ids or ())) == (ids, types)
    assert list(example.labels) == [IGNORED] * (len(ids) - len(reply)) + reply


def test_every_reply_makes_an_example_with_five_turns_before_it(load: Callable[[str], Decoder]) -> None:
    dialect = load("gpt2").dialect
    assert isinstance(dialect, TransferTransfo)
    both = [text for pair in zip(QUESTIONS, REPLIES, strict=True) for text in pair]
    dialogue = [Utterance(BOT if n % 2 else PERSON, text) for n, text in enumerate(both)]
    examples = dialect.examples(dialogue, 6, PLENTY, PERSONA)
    assert len(examples) == 4
    speakers = {dialect._person, dialect._reply}
    assert [sum(token in speakers for token in example.input_ids) for example in examples] == [2, 4, 6, 6]


def test_an_example_drops_old_turns_before_it_drops_itself(load: Callable[[str], Decoder]) -> None:
    dialect = load("gpt2").dialect
    dialogue = [*talk(3), Utterance(BOT, "walk")]
    short = dialect.example(dialogue[2:], {BOT}, PLENTY, PERSONA)
    assert dialect.example(dialogue, {BOT}, len(short.input_ids), PERSONA) == short
    assert dialect.example(dialogue, {BOT}, len(short.input_ids) - 1, PERSONA).input_ids == ()


# --- the candidate head -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_candidate_head_scores_as_the_original_model(
    folders: Callable[[str], Path], load: Callable[[str], Decoder], kind: str
) -> None:
    ranker: Any = load_ranker(str(folders(kind)), name=CANDIDATE_HEAD, device="cpu", dtype="float32")
    tokenizer: Any = load(kind).dialect._tokenizer  # type: ignore[attr-defined]
    history = texts_of(talk(3))
    pairs = [(history[-length:], reply) for length in (1, 3) for reply in (*REPLIES, "")]
    for persona in ((), PERSONA):
        expected = []
        for turns, reply in pairs:
            said = [*tokenizer.encode(reply), special(load(kind))["<eos>"]]
            ids, types = segments(load(kind), persona, turns, said)
            with torch.inference_mode():
                output = reference(kind)(
                    torch.tensor([ids]),
                    token_type_ids=torch.tensor([types]),
                    mc_token_ids=torch.tensor([len(ids) - 1]),
                )
            expected.append(float(output.mc_logits.sigmoid()))
        assert ranker.score(pairs, persona) == pytest.approx(expected, abs=1e-4)


def test_a_candidate_can_be_scored_after_nothing(folders: Callable[[str], Path]) -> None:
    ranker = load_ranker(str(folders("gpt2")), name=CANDIDATE_HEAD, device="cpu")
    (score,) = ranker.score([([], "hello")])
    assert 0 < score < 1


def test_long_talks_and_replies_are_cut_to_what_the_head_reads(folders: Callable[[str], Path]) -> None:
    ranker = load_ranker(str(folders("gpt2")), name=CANDIDATE_HEAD, device="cpu")
    assert len(ranker.score([(["hello there"] * 40, "ok"), (["hello " * 90], "ok " * 90)])) == 2


def test_a_checkpoint_without_the_head_writes_but_does_not_rank(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders("openai-gpt-old"), tmp_path / "headless")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({n: t for n, t in state.items() if not n.startswith("multiple_choice")}, folder / "pytorch_model.bin")
    assert load_generator(str(folder), device="cpu").dialect.name == "transfertransfo"
    with pytest.raises(CheckpointError, match="candidate head is not among the weights"):
        load_ranker(str(folder), name=CANDIDATE_HEAD, device="cpu")


def test_other_systems_have_no_candidate_head() -> None:
    with pytest.raises(CheckpointError, match="checkpoint of devjwsong"):
        load_ranker(str(BYTE_LEVEL), name=CANDIDATE_HEAD, device="cpu")


# --- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*WORDS, "Crème Brûlée?!", "emoji 😀 here", "  spaces  ", "中文", "x<unk>y", ""])
def test_the_first_gpts_tokenizer_reads_text_as_transformers_does(folders: Callable[[str], Path], text: str) -> None:
    folder = folders("openai-gpt-old")
    theirs: Any = OpenAIGPTTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    tokenizer = open_checkpoint(str(folder)).read_tokenizer()
    if "<unk>" not in text:  # typed by somebody it is a control token there
        assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids).strip() == theirs.decode(ids, skip_special_tokens=True).strip()


def test_replies_are_closed_up_as_the_old_library_did(load: Callable[[str], Decoder]) -> None:
    dialect = load("openai-gpt").dialect
    tokenizer: Any = dialect._tokenizer  # type: ignore[attr-defined]
    written = tokenizer.encode("i do not know , i 'm not sure . we do n't walk !")
    assert dialect.decode(written) == "i don't know, i'm not sure. we don't walk!"


def test_a_saved_tokenizer_reads_the_same(folders: Callable[[str], Path], tmp_path: Path) -> None:
    for kind in KINDS:
        folder = shutil.copytree(folders(kind), tmp_path / kind)
        before = open_checkpoint(str(folder)).read_tokenizer()
        for name in ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "special_tokens.txt"):
            (folder / name).unlink(missing_ok=True)
        before.save(folder)
        after = open_checkpoint(str(folder)).read_tokenizer()
        assert after.control_ids == before.control_ids
        assert [after.encode(text) for text in WORDS] == [before.encode(text) for text in WORDS]
        assert TransferTransfo(after).stop_ids == TransferTransfo(before).stop_ids


def test_ids_that_the_vocabulary_does_not_lead_to_are_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders("openai-gpt"), tmp_path / "mixed")
    ids = json.loads((folder / "added_tokens.json").read_text())
    (folder / "added_tokens.json").write_text(json.dumps({name: token + 3 for name, token in ids.items()}))
    with pytest.raises(CheckpointError, match="belong to different checkpoints"):
        load_generator(str(folder), device="cpu")


said_texts = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from([*SPECIAL_TOKENS, "<unk>", "<BOS>", "＜bos＞", "<speaker", " ", "hi"]), max_size=5).map(
        "".join
    ),
)
talks = st.lists(st.builds(Utterance, st.integers(0, 3), said_texts), min_size=1, max_size=5)


@pytest.mark.parametrize("kind", KINDS)
def test_text_never_becomes_a_control_token(load: Callable[[str], Decoder], kind: str) -> None:
    decoder = load(kind)
    ids = special(decoder)
    dialect = decoder.dialect

    @given(said=talks, persona=st.lists(said_texts, max_size=3))
    def check(said: list[Utterance], persona: list[str]) -> None:
        written = dialect.encode(said, PLENTY, persona)
        speakers = [ids["<speaker1>"] if utterance.speaker == BOT else ids["<speaker2>"] for utterance in said]
        assert [token for token in written if token in dialect.control_ids] == [
            ids["<bos>"],
            *speakers,
            ids["<speaker1>"],
        ]

    check()


def test_trimming_keeps_whole_turns_the_persona_and_the_closing_token(load: Callable[[str], Decoder]) -> None:
    decoder = load("gpt2")
    dialect, ids = decoder.dialect, special(decoder)
    tokenizer: Any = dialect._tokenizer  # type: ignore[attr-defined]

    @given(said=talks, persona=st.lists(said_texts, max_size=3), max_tokens=st.integers(4, 60))
    def check(said: list[Utterance], persona: list[str], max_tokens: int) -> None:
        written = dialect.encode(said, max_tokens, persona)
        assert len(written) <= max_tokens
        assert (written[0], written[-1]) == (ids["<bos>"], ids["<speaker1>"])
        facts = [token for sentence in persona for token in tokenizer.encode(sentence)]
        whole = [dialect.encode(said[start:], PLENTY, persona) for start in range(len(said))]
        fitting = [context for context in whole if len(context) <= max_tokens]
        if fitting:  # the newest turns that fit beside all of the persona
            assert written == fitting[0]
        elif len(facts) + 2 <= max_tokens // 2:  # the persona is no trouble: the last turn lost its beginning
            assert written[1 : 1 + len(facts)] == facts
            assert len(written) == max_tokens
        else:  # what is left of the persona is whole sentences from its beginning
            end = next(n for n, token in enumerate(written) if token in {ids["<speaker1>"], ids["<speaker2>"]})
            beginnings = [
                [token for sentence in persona[:count] for token in tokenizer.encode(sentence)]
                for count in range(len(persona) + 1)
            ]
            assert written[1:end] in beginnings

    check()


@pytest.mark.parametrize("said", [[], [Utterance(PERSON, "hello")]])
def test_nothing_to_write_or_no_room_for_it_is_refused(load: Callable[[str], Decoder], said: list[Utterance]) -> None:
    with pytest.raises(ValueError, match="context"):
        load("gpt2").dialect.encode(said, 2)
