"""Files that are no checkpoint, or no longer one: a sentence that names the file, whoever asks, and nothing is run."""

import contextlib
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from bot.convert_command import convert
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.pickles import read_state
from bot.generator.ranking.ranker import load_ranker
from bot.inspect_command import inspect
from tests.parity.natives import NATIVES

ALL = sorted(NATIVES)
WITH_CONFIG = [name for name in ALL if name not in ("dialogpt", "dialogrpt")]
Damage = Callable[[Path], object]


def load(path: Path, role: str) -> object:
    if role == "ranker":
        return load_ranker(str(path), name="updown", device="cpu")
    return load_generator(str(path), device="cpu")


def told(command: click.Command, *arguments: str) -> str:
    """What a command that must refuse says; a crash is no refusal."""
    result = CliRunner().invoke(command, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output.strip()


def stored(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that may then be written over: reading maps the file into memory."""
    return {name: value.clone() for name, value in read_state(weights).items()}


def refused(path: Path, role: str = "generator", *, by_inspect: bool = True) -> str:
    """The message with which everybody refuses a checkpoint: one line, and nothing is left behind."""
    with pytest.raises(CheckpointError) as caught:
        load(path, role)
    message = str(caught.value)
    out = path.absolute().parent / "converted"
    messages = [message, told(convert, str(path), str(out))]
    assert not out.exists()
    if by_inspect:
        messages.append(told(inspect, str(path)))
    for one in messages:
        assert "\n" not in one
        assert one.endswith(".") or "git lfs pull" in one
    return message


@pytest.fixture(params=ALL)
def native(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str]:
    """A checkpoint of each system to be damaged: what is named, the file of its weights, what it is for."""
    kind = NATIVES[request.param]
    named = kind.copied(tmp_path)
    return named, tmp_path / "native" / kind.weights, kind.role


def a_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "nothing to load")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: f.write_bytes(b""), id="empty"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 3]), id="cut at a third"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[:-1]), id="last byte missing"),
        pytest.param(lambda f: f.write_bytes(random.Random(7).randbytes(20_000)), id="random bytes"),
        pytest.param(lambda f: f.write_text("context\treply\nhow are you?\tfine\n" * 50), id="text"),
        pytest.param(lambda f: f.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300)), id="picture"),
        pytest.param(lambda f: f.write_text("<!DOCTYPE html><html>404 Not Found</html>"), id="web page"),
        pytest.param(lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), id="lfs"),
        pytest.param(a_zip, id="zip"),
        pytest.param(lambda f: f.write_bytes(pickle.dumps({"a": [1, 2]})), id="pickle without weights"),
        pytest.param(lambda f: torch.save([torch.zeros(3)], f), id="list of tensors"),
        pytest.param(lambda f: torch.save({}, f), id="no tensors"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(native: tuple[Path, Path, str], damage: Damage) -> None:
    named, weights, role = native
    damage(weights)
    assert weights.name in refused(named, role)


class Payload:
    """Makes a directory when it is unpickled without care."""

    def __init__(self, witness: Path) -> None:
        self._witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._witness),)


@pytest.mark.parametrize("whole", [True, False], ids=["a bare pickle", "among the weights"])
def test_code_in_a_pickle_is_never_run(native: tuple[Path, Path, str], tmp_path: Path, whole: bool) -> None:
    named, weights, role = native
    witness = tmp_path / "it-ran"
    if whole:
        weights.write_bytes(pickle.dumps(Payload(witness)))
    else:
        torch.save({**stored(weights), "transformer.extra": Payload(witness)}, weights)
    assert weights.name in refused(named, role)
    assert not witness.exists()


def another_model(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"encoder.layer.{number}.weight": torch.zeros(4, 4) for number in range(len(state))}


def without_a_layer(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    last = max(name for name in state if ".h.1." in name or ".layers.1." in name or name.startswith("h.1."))
    return {name: value for name, value in state.items() if name != last}


def transposed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    wide = next(name for name, value in state.items() if value.dim() == 2 and value.shape[0] != value.shape[1])
    return {name: value.T.contiguous() if name == wide else value for name, value in state.items()}


@pytest.mark.parametrize("change", [another_model, without_a_layer, transposed])
def test_weights_of_another_network_are_refused(
    native: tuple[Path, Path, str], change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    named, weights, role = native
    torch.save(change(stored(weights)), weights)
    assert str(weights.parent) in refused(named, role)


def test_weights_that_are_no_numbers_are_refused_and_inspect_shows_them(native: tuple[Path, Path, str]) -> None:
    named, weights, role = native
    state = stored(weights)
    broken = next(name for name in state if name.endswith(("ln_1.weight", "self_attn_layer_norm.weight")))
    state[broken] = torch.full_like(state[broken], float("nan"))
    torch.save(state, weights)
    assert "no finite numbers" in refused(named, role, by_inspect=False)
    shown = CliRunner().invoke(inspect, [str(named)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert f"1 weights hold values that are no finite numbers, first {broken}" in shown.output


def test_a_file_that_may_not_be_read_is_named() -> None:
    """Root may read everything, so the rights of root are laid down meanwhile."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        named = NATIVES["pingpong-gpt"].copied(Path(place))
        os.chmod(named.parent, 0o755)
        named.chmod(0)
        with somebody_else(), pytest.raises(CheckpointError, match=r"model\.pth"):
            load(named, "generator")
        named.parent.chmod(0)
        with somebody_else(), pytest.raises(CheckpointError, match="cannot be read"):
            load(named, "generator")
        named.parent.chmod(0o755)


class somebody_else:
    """Act as the user nobody, where that is a change."""

    def __enter__(self) -> None:
        self._was = os.geteuid()
        if self._was == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self._was == 0:
            os.seteuid(0)


def edited(file: Path, **changes: Any) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, **changes}), encoding="utf-8")


@pytest.fixture(params=WITH_CONFIG)
def configured(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that cannot do without its configuration: what is named, and that file."""
    kind = NATIVES[request.param]
    named = kind.copied(tmp_path)
    return named, (tmp_path / "native" / kind.weights).with_name("config.json")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: f.unlink(), id="missing"),
        pytest.param(lambda f: f.write_bytes(b""), id="empty"),
        pytest.param(lambda f: f.write_text("{"), id="cut"),
        pytest.param(lambda f: f.write_text("[1, 2]"), id="list"),
        pytest.param(lambda f: f.write_text("3"), id="number"),
        pytest.param(lambda f: f.write_bytes(b"\xff\xfe\x00"), id="no text"),
        pytest.param(lambda f: f.write_text("[" * 100_000), id="deep"),
        pytest.param(lambda f: (f.unlink(), f.mkdir()), id="directory"),
    ],
)
def test_a_broken_configuration_is_named(configured: tuple[Path, Path], damage: Damage) -> None:
    named, config = configured
    damage(config)
    assert str(config.parent) in refused(named)


@pytest.mark.parametrize(
    ("size", "value"),
    [
        ("layers", 0),
        ("layers", -2),
        ("layers", 10**12),
        ("heads", 0),
        ("heads", "two"),
        ("heads", True),
        ("width", 2.5),
        ("width", None),
        ("width", 10**12),
        ("vocabulary", [2]),
        ("vocabulary", {"n": 2}),
        ("vocabulary", 3),
    ],
)
def test_a_size_that_no_network_has_is_refused(configured: tuple[Path, Path], size: str, value: object) -> None:
    named, config = configured
    meena = "d_model" in json.loads(config.read_text(encoding="utf-8"))
    gpt = {"layers": "n_layer", "heads": "n_head", "width": "n_embd", "vocabulary": "vocab_size"}
    own = {**gpt, "layers": "decoder_layers", "heads": "encoder_attention_heads", "width": "d_model"}
    edited(config, **{(own if meena else gpt)[size]: value})
    assert str(config.parent) in refused(named)


@pytest.mark.parametrize("heads", [3, 5, 64])
def test_heads_that_do_not_divide_the_width_are_refused(native: tuple[Path, Path, str], heads: int) -> None:
    named, weights, role = native
    config = next(f for f in (weights.with_name("config.json"), weights.parent.parent / "config.json") if f.is_file())
    key = "decoder_attention_heads" if "d_model" in config.read_text() else "n_head"
    edited(config, **{key: 7 if role == "ranker" and heads == 3 else heads})
    assert key in refused(named, role)


@pytest.mark.parametrize(
    "changes",
    [{"architectures": 5}, {"architectures": [1]}, {"model_type": ["gpt2"]}, {"model_type": "llama"}, {"n_inner": 7}],
    ids=str,
)
def test_a_configuration_of_another_network_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    named = NATIVES["devjwsong"].copied(tmp_path)
    edited(named / "config.json", **changes)
    assert str(named) in refused(named)


TOKENIZERS = {
    "dialogpt": ["vocab.json", "merges.txt"],
    "dialogrpt": ["vocab.json", "merges.txt"],
    "devjwsong": ["vocab.json", "merges.txt"],
    "chitchat": ["vocab/vocab.txt"],
    "chitchat-mmi": ["vocab/vocab.txt"],
    "pingpong-gpt": ["tokenizer.model"],
    "pingpong-meena": ["tokenizer.model"],
}


@pytest.mark.parametrize("name", ALL)
def test_a_missing_tokenizer_is_missed(name: str, tmp_path: Path) -> None:
    named = NATIVES[name].copied(tmp_path)
    for file in TOKENIZERS[name]:
        (tmp_path / "native" / file).unlink()
    assert str(tmp_path / "native") in refused(named, NATIVES[name].role)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: f.write_bytes(b""), id="empty"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 3]), id="cut at a third"),
        pytest.param(lambda f: f.write_bytes(random.Random(7).randbytes(5_000)), id="random bytes"),
    ],
)
def test_a_damaged_tokenizer_is_refused(name: str, damage: Damage, tmp_path: Path) -> None:
    named = NATIVES[name].copied(tmp_path)
    damage(tmp_path / "native" / TOKENIZERS[name][0])
    assert str(tmp_path / "native") in refused(named, NATIVES[name].role)


def test_a_vocabulary_beyond_the_embedding_is_refused(native: tuple[Path, Path, str], tmp_path: Path) -> None:
    """The embedding loses its last rows, and the configuration follows; the tokenizer stays."""
    named, weights, role = native
    state = stored(weights)
    rows = next(value.shape[0] for name, value in state.items() if name.endswith(("wte.weight", "shared.weight")))
    cut = {name: value[:-5].clone() if value.shape[:1] == (rows,) else value for name, value in state.items()}
    torch.save(cut, weights)
    for config in (tmp_path / "native").rglob("config.json"):
        edited(config, vocab_size=rows - 5)
    message = refused(named, role)
    assert str(rows) in message or "the tokenizer knows more" in message


@pytest.mark.parametrize("name", ["dialogpt", "dialogrpt", "devjwsong"])
def test_rows_beyond_the_vocabulary_are_padding(name: str, tmp_path: Path) -> None:
    named = NATIVES[name].copied(tmp_path)
    weights = tmp_path / "native" / NATIVES[name].weights
    state = stored(weights)
    rows = next(value.shape[0] for key, value in state.items() if key.endswith("wte.weight"))
    padded = {
        key: torch.cat([value, value[:3]]) if value.shape[:1] == (rows,) else value for key, value in state.items()
    }
    torch.save(padded, weights)
    for config in (tmp_path / "native").rglob("config.json"):
        edited(config, vocab_size=rows + 3)
    load(named, NATIVES[name].role)
    shown = CliRunner().invoke(inspect, [str(named)], catch_exceptions=False)
    assert "3 rows of the embedding stand for no token" in shown.output
    done = CliRunner().invoke(convert, [str(named), str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def in_hub_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the hub layout, with safetensors, to be copied."""
    out = tmp_path_factory.mktemp("hub") / "hub"
    done = CliRunner().invoke(convert, [str(NATIVES["dialogpt"].path), str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def hub(in_hub_layout: Path, tmp_path: Path) -> Path:
    """Such a checkpoint, to be damaged."""
    return Path(shutil.copytree(in_hub_layout, tmp_path / "hub"))


def header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the header of a safetensors file, the tensors left as they are."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    entries = json.loads(content[8 : 8 + length])
    change(entries)
    text = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: f.write_bytes(b""), id="empty"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[:5]), id="five bytes"),
        pytest.param(lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 3]), id="cut at a third"),
        pytest.param(lambda f: f.write_bytes(struct.pack("<Q", 2**60) + f.read_bytes()[8:]), id="absurd length"),
        pytest.param(lambda f: f.write_bytes(struct.pack("<Q", 2**64 - 1)), id="largest length"),
        pytest.param(lambda f: f.write_bytes(random.Random(7).randbytes(9_000)), id="random bytes"),
        pytest.param(lambda f: header(f, lambda h: h["transformer.wte.weight"].update(dtype="F99")), id="dtype"),
        pytest.param(
            lambda f: header(f, lambda h: h["transformer.wte.weight"].update(data_offsets=[0, 2**50])), id="offsets"
        ),
        pytest.param(lambda f: header(f, lambda h: h["transformer.wte.weight"].update(shape=[2**40, 8])), id="shape"),
        pytest.param(lambda f: save_file({"a": torch.zeros(3)}, f), id="another model"),
        pytest.param(lambda f: (f.unlink(), f.mkdir()), id="directory"),
        pytest.param(lambda f: (f.unlink(), f.symlink_to(f)), id="a link to itself"),
    ],
)
def test_damaged_safetensors_are_named(hub: Path, damage: Damage) -> None:
    damage(hub / "model.safetensors")
    assert str(hub) in refused(hub)


def test_weights_in_parts_of_which_one_is_missing_are_named(tmp_path: Path) -> None:
    source = str(NATIVES["dialogpt"].path)
    hub = tmp_path / "hub"
    CliRunner().invoke(convert, [source, str(hub), "--shard-size", "60KB"], catch_exceptions=False)
    part = sorted(hub.glob("model-*.safetensors"))[1]
    part.unlink()
    assert part.name in refused(hub)
    (hub / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')
    assert "secret.safetensors" in refused(hub)


def test_a_network_too_large_for_its_file_takes_no_memory(hub: Path) -> None:
    edited(hub / "config.json", n_embd=800_000, n_head=1, vocab_size=90_000_000)
    assert "do not fit" in refused(hub)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("chat.zip", b"PK\x03\x04" + bytes(40), "a ZIP archive"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG image"),
        ("table.csv", b"a,b\n1,2\n", "a text file"),
        ("model", b"", "an empty file"),
        ("noise.dat", random.Random(3).randbytes(400), "an unknown kind"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    assert kind in message
    assert name in message


def test_places_without_a_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "sea.png").write_bytes(b"\x89PNG")
    assert str(tmp_path / "photos") in refused(tmp_path / "photos")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a link that leads nowhere" in refused(tmp_path / "loop")
    assert "no such file" in refused(tmp_path / "nowhere.pth")
    assert "cannot be read" in refused(tmp_path / ("x" * 400))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "prior: 3",
        "prior: [{name: a}]",
        "prior: [{name: a, wt: x, path: a.pth}]",
        "{",
        "!!python/object:os {}",
    ],
)
def test_a_broken_ensemble_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ensemble.yml"
    file.write_text(text)
    assert "ensemble.yml" in refused(file, "ranker")


@pytest.fixture(scope="module")
def workbench() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def looked_at(named: Path, role: str) -> None:
    """Load it; only a CheckpointError may come of it."""
    with contextlib.suppress(CheckpointError):
        load(named, role)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_flipped_and_lost_bytes_end_in_a_checkpoint_error_or_not_at_all(data: st.DataObject, workbench: Path) -> None:
    """Any file of any system: weights, configuration, tokenizer."""
    kind = NATIVES[data.draw(st.sampled_from(ALL))]
    shutil.rmtree(workbench / "native", ignore_errors=True)
    named = kind.copied(workbench)
    files = sorted(file for file in (workbench / "native").rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    file.write_bytes(content)
    looked_at(named, kind.role)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_safetensors_header_ends_in_a_checkpoint_error(
    data: st.DataObject, workbench: Path, in_hub_layout: Path
) -> None:
    shutil.copytree(in_hub_layout, workbench / "hub", dirs_exist_ok=True)
    file = workbench / "hub" / "model.safetensors"
    content = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 2_000), min_size=1, max_size=6)):
        content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    looked_at(workbench / "hub", "generator")


REPLACED = """
import sys
from pathlib import Path

from bot.generator.candidates import GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.engine import load_generator

decoding = Decoding(candidates=1, max_new_tokens=3)
for named, weights in zip(sys.argv[1::2], sys.argv[2::2]):
    generator = load_generator(named, device="cpu", dtype="float32")
    Path(weights).write_bytes(b"")
    generator.generate([GenerationRequest(input_ids=(5, 6), decoding=decoding, seed=0)])
"""


def test_a_file_that_is_written_over_takes_nothing_from_a_model_in_use(hub: Path, tmp_path: Path) -> None:
    """Weights that are only mapped into memory vanish with their file, and the process with them (SIGBUS)."""
    files = [hub, hub / "model.safetensors"]
    for name in ("devjwsong", "pingpong-gpt"):
        (tmp_path / name).mkdir()
        files += [NATIVES[name].copied(tmp_path / name), tmp_path / name / "native" / NATIVES[name].weights]
    command = [sys.executable, "-c", REPLACED, *map(str, files)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
