"""gpt2bot's configurations become ours, key by key; what has no place is named, and no secret is shown."""

import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.config import Config, ConfigError, load_config
from bot.gpt2bot.conversion import Imported, import_gpt2bot

TOKEN = "123456789:AAExampleExampleExampleExampleExample"
GIPHY = "giphySecretGiphySecretGiphySecret"

FULL = f"""
# a comment

[general_params]
device = -1
seed
debug = False

[generation_pipeline_kwargs]
model = microsoft/DialoGPT-large
config
tokenizer
framework

[generator_kwargs]
max_length = 1000
min_length = 1
do_sample = True
early_stopping = False
num_beams = 1
num_beam_groups = 1
diversity_penalty = 0.0
temperature = 0.7
top_k = 50
top_p = 0.95
repetition_penalty = 1.2
length_penalty = 1
no_repeat_ngram_size = 3
pad_token_id
bos_token_id
eos_token_id
bad_words_ids
num_return_sequences = 8
decoder_start_token_id
use_cache = True
clean_up_tokenization_spaces = True

[prior_ranker_weights]
human_vs_rand_weight = 0.5
human_vs_machine_weight = 0.5

[cond_ranker_weights]
updown_weight = 1
depth_weight = 0.48
width_weight = -0.45

[chatbot_params]
max_turns_history = 2
telegram_token = {TOKEN}
giphy_token = {GIPHY}
giphy_prob = 0.1
giphy_max_words = 3
giphy_weirdness = 5
continue_after_restart = True
data_filename = bot_data.pkl
"""


def changed(**lines: str) -> str:
    """The full file with the lines of some keys replaced: `top_k="top_k = 7"`."""
    kept = []
    for line in FULL.splitlines():
        key = line.partition("=")[0].strip()
        kept.append(lines.pop(key) if key in lines else line)
    assert not lines, f"no such keys: {lines}"
    return "\n".join(kept)


def imported(folder: Path, text: str = FULL) -> tuple[Imported, Config]:
    file = folder / "chatbot.cfg"
    file.write_text(text)
    made = import_gpt2bot(file)
    (folder / "config.yaml").write_text(made.text)
    return made, load_config(folder / "config.yaml", env={})


def problems(folder: Path, text: str) -> str:
    file = folder / "chatbot.cfg"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        import_gpt2bot(file)
    return str(caught.value)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", "import-gpt2bot", *arguments])


def test_every_setting_of_a_full_file_arrives(tmp_path: Path) -> None:
    _, config = imported(tmp_path)
    assert (config.model.checkpoint, config.model.device) == ("microsoft/DialoGPT-large", "cpu")
    written = config.decoding["default"].model_dump(include=config.decoding["default"].model_fields_set)
    assert written == {
        "candidates": 8,
        "max_new_tokens": 999,
        "min_new_tokens": 0,
        "temperature": 0.7,
        "top_k": 50,
        "top_p": 0.95,
        "repetition_penalty": 1.2,
        "no_repeat_ngram": 3,
        "max_length": 1000,
        "min_length": 1,
    }
    assert config.history.tokens == 1000


def test_rankers_keep_their_weights_and_alone_decide(tmp_path: Path) -> None:
    _, config = imported(tmp_path)
    ranking = config.ranking
    assert [(head.checkpoint, head.weight) for head in ranking.prior] == [
        ("microsoft/DialogRPT-human-vs-rand", 0.5),
        ("microsoft/DialogRPT-human-vs-machine", 0.5),
    ]
    assert [(head.name, head.checkpoint, head.weight) for head in ranking.cond] == [
        ("updown", "microsoft/DialogRPT-updown", 1.0),
        ("depth", "microsoft/DialogRPT-depth", 0.48),
        ("width", "microsoft/DialogRPT-width", -0.45),
    ]
    assert ranking.mix == 1.0
    assert (ranking.penalties.repeat, ranking.penalties.echo, ranking.penalties.contradiction) == (0, 0, 0)


@pytest.mark.parametrize(("written", "messages"), [("2", 5), ("0", 1), ("7", 15), ("-1", 100), ("80", 100)])
def test_a_turn_of_history_is_a_message_and_its_answer(tmp_path: Path, written: str, messages: int) -> None:
    _, config = imported(tmp_path, changed(max_turns_history=f"max_turns_history = {written}"))
    assert config.history.turns == messages


def test_empty_and_missing_keys_mean_gpt2bots_defaults(tmp_path: Path) -> None:
    _, config = imported(tmp_path, "[generator_kwargs]\ntop_k\n[chatbot_params]\n")
    decoding = config.decoding["default"]
    assert (decoding.top_k, decoding.top_p, decoding.temperature, decoding.max_length) == (50, 1.0, 1.0, 1000)
    assert (decoding.candidates, decoding.no_repeat_ngram, decoding.repetition_penalty) == (1, 0, 1.0)
    assert (config.history.turns, config.model.checkpoint) == (5, "microsoft/DialoGPT-medium")
    assert not config.ranking.prior
    assert not config.ranking.cond


def test_greedy_is_temperature_zero(tmp_path: Path) -> None:
    text = changed(do_sample="do_sample = no", num_return_sequences="num_return_sequences = 1")
    assert imported(tmp_path, text)[1].decoding["default"].temperature == 0.0


def test_beams_become_a_beam_search(tmp_path: Path) -> None:
    text = changed(do_sample="do_sample = f", num_beams="num_beams = 8", length_penalty="length_penalty = 0.8")
    decoding = imported(tmp_path, text)[1].decoding["default"]
    assert (decoding.search, decoding.beams, decoding.candidates, decoding.length_penalty) == ("beam", 8, 8, 0.8)


def test_without_a_ranker_several_draws_are_one(tmp_path: Path) -> None:
    text = "[generator_kwargs]\nnum_return_sequences = 8\n"
    made, config = imported(tmp_path, text)
    assert config.decoding["default"].candidates == 1
    assert any(remark.startswith("generator_kwargs.num_return_sequences: not carried over") for remark in made.remarks)


def test_a_weight_of_zero_switches_a_ranker_off(tmp_path: Path) -> None:
    _, config = imported(tmp_path, changed(depth_weight="depth_weight = 0"))
    assert [head.name for head in config.ranking.cond] == ["updown", "width"]


def test_the_section_names_of_an_older_release_are_known(tmp_path: Path) -> None:
    older = FULL.replace("_params]", "]").replace("_kwargs]", "]").replace("_ranker_weights]", "_rankers]")
    assert "[generator]" in older
    assert "[prior_rankers]" in older
    assert imported(tmp_path, older)[0].text == imported(tmp_path)[0].text


def test_a_still_older_release_had_the_device_beside_the_model_and_the_seed_beside_the_temperature(
    tmp_path: Path,
) -> None:
    made, config = imported(tmp_path, "[pipeline]\ndevice = 2\n[generator]\nseed = 5\ntop_k = 7\n")
    assert config.model.device == "cuda:2"
    assert config.decoding["default"].top_k == 7
    assert any(remark.startswith("general_params.seed: not carried over") for remark in made.remarks)
    assert ":2: general_params.device: " in problems(tmp_path, "[pipeline]\ndevice = x\n[generator]\ntop_k = 7\n")


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        ("device = 1", ("model", "device"), "cuda:1"),
        ("debug = True", ("logs", "level"), "debug"),
        ("debug = False", ("logs", "level"), "info"),
    ],
)
def test_general_settings(tmp_path: Path, line: str, place: tuple[str, str], value: Any) -> None:
    key = line.split(maxsplit=1)[0]
    _, config = imported(tmp_path, changed(**{key: line}))
    assert getattr(getattr(config, place[0]), place[1]) == value


def test_what_has_no_place_is_named_with_its_reason(tmp_path: Path) -> None:
    made, _ = imported(
        tmp_path, changed(seed="seed = 7", bad_words_ids="bad_words_ids = 1,2", framework="framework = tf")
    )
    named = {remark.split(":")[0] for remark in made.remarks}
    assert named >= {
        "general_params.seed",
        "generation_pipeline_kwargs.framework",
        "generator_kwargs.bad_words_ids",
        "chatbot_params.giphy_token",
        "chatbot_params.giphy_prob",
        "chatbot_params.data_filename",
    }
    assert all("not carried over: " in remark for remark in made.remarks)


def test_unknown_keys_and_sections_are_reported_with_line_and_nearest_key(tmp_path: Path) -> None:
    made, _ = imported(tmp_path, "[generator_kwargs]\ntop_kk = 3\ntop_k = 4\n[discord]\ntoken = x\n")
    assert "generator_kwargs.top_kk (line 2): not carried over: gpt2bot has no such key" in "\n".join(made.remarks)
    assert 'did you mean "top_k"?' in "\n".join(made.remarks)
    assert any(remark.startswith("[discord] (line 4)") for remark in made.remarks)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("top_k = many", '"many" is no whole number'),
        ("top_p = 1.5", "1.5"),
        ("temperature = 0", "0 is not above 0"),
        ("temperature = 9", "9"),
        ("do_sample = perhaps", "neither True nor False"),
        ("num_return_sequences = 100", "64"),
        ("max_length = 10", "no room"),
        ("no_repeat_ngram_size = -1", "-1"),
        ("repetition_penalty = nan", "nan"),
        ("depth_weight = 50", "50"),
        ("device = 12345", "cuda:12345"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_file_line_and_key(tmp_path: Path, line: str, complaint: str) -> None:
    key = line.split(maxsplit=1)[0]
    text = changed(**{key: line})
    said = problems(tmp_path, text)
    number = text.splitlines().index(line) + 1
    assert said.startswith(f"{tmp_path / 'chatbot.cfg'}:{number}: ")
    assert f".{key}: " in said
    assert complaint in said


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    said = problems(tmp_path, changed(top_k="top_k = a", device="device = b", width_weight="width_weight = c"))
    assert [line.split(": ")[1].split(".")[-1] for line in said.splitlines()] == ["device", "top_k", "width_weight"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("top_k = 1\n", ":1: stands before the first [section]"),
        ("[general_params]\nseed = 1\nseed = 2\n", ":3: general_params.seed: is written twice"),
        ("[general_params]\n[general_params]\n", ":2: [general_params]: is written twice"),
        ("[general_params]\ndata = 1\n[other]\n", "is no configuration of gpt2bot"),
        ("", "is no configuration of gpt2bot"),
        ("[generation_pipeline_kwargs]\nmodel = 50%\n", "write %%"),
        ("[general_params]\n= 3\n", ":2: is no line of key = value"),
    ],
)
def test_a_file_that_is_none_of_gpt2bots_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaint in problems(tmp_path, text)


def test_beams_that_gpt2bot_itself_refuses_are_refused(tmp_path: Path) -> None:
    assert "8 is more than num_beams, 4" in problems(tmp_path, changed(num_beams="num_beams = 4"))
    assert "one reply only" in problems(tmp_path, changed(do_sample="do_sample = 0"))


def test_weights_that_cancel_out_are_refused(tmp_path: Path) -> None:
    text = "[prior_ranker_weights]\nhuman_vs_rand_weight = 1\nhuman_vs_machine_weight = -1\n"
    assert "add up to 0" in problems(tmp_path, text)


def test_a_token_goes_to_the_environment_file_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(FULL)
    result = run(str(file), "--out", str(tmp_path / "config.yaml"))
    assert result.exit_code == 0
    assert (tmp_path / ".env").read_text() == f"TELEGRAM_BOT_TOKEN={TOKEN}\n"
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    for text in (result.output, (tmp_path / "config.yaml").read_text()):
        assert TOKEN not in text
        assert GIPHY not in text
    token = load_config(tmp_path / "config.yaml", env={}).channels.telegram.token
    assert token is not None
    assert token.get_secret_value() == TOKEN


def test_a_token_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(FULL)
    (tmp_path / ".env").write_text("DISCORD_BOT_TOKEN=d\nTELEGRAM_BOT_TOKEN=mine")
    result = run(str(file), "--out", str(tmp_path / "config.yaml"))
    assert "it stays" in result.output
    assert (tmp_path / ".env").read_text() == "DISCORD_BOT_TOKEN=d\nTELEGRAM_BOT_TOKEN=mine"


def test_a_token_is_added_to_what_the_environment_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(FULL)
    (tmp_path / ".env").write_text("DISCORD_BOT_TOKEN=d\nTELEGRAM_BOT_TOKEN=")
    assert run(str(file), "--out", str(tmp_path / "config.yaml")).exit_code == 0
    assert (tmp_path / ".env").read_text() == f"DISCORD_BOT_TOKEN=d\nTELEGRAM_BOT_TOKEN=\nTELEGRAM_BOT_TOKEN={TOKEN}\n"


def test_a_placeholder_is_no_token(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(changed(telegram_token="telegram_token = YOUR_TOKEN_HERE"))
    result = run(str(file), "--out", str(tmp_path / "config.yaml"))
    assert "chatbot_params.telegram_token: not carried over" in result.output
    assert not (tmp_path / ".env").exists()


def test_without_a_name_the_configuration_is_only_shown(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(FULL)
    result = run(str(file))
    assert result.exit_code == 0
    assert result.stdout == import_gpt2bot(file).text
    assert "giphy_prob: not carried over" in result.stderr
    assert TOKEN not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["chatbot.cfg"]


def test_no_file_is_overwritten_unless_told_so(tmp_path: Path) -> None:
    file, out = tmp_path / "chatbot.cfg", tmp_path / "config.yaml"
    file.write_text(FULL)
    out.write_text("version: 1\n")
    refused = run(str(file), "--out", str(out))
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert out.read_text() == "version: 1\n"
    assert not (tmp_path / ".env").exists()
    assert run(str(file), "--out", str(out), "--force").exit_code == 0
    assert out.read_text() == import_gpt2bot(file).text


@pytest.mark.parametrize("name", ["missing.cfg", "."])
def test_a_file_that_cannot_be_read_is_a_message(tmp_path: Path, name: str) -> None:
    result = run(str(tmp_path / name))
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert "Traceback" not in result.output


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    file = tmp_path / "chatbot.cfg"
    file.write_text(FULL)
    result = run(str(file), "--out", str(tmp_path / "nowhere" / "config.yaml"))
    assert result.exit_code == 1
    assert "cannot be written" in result.output
