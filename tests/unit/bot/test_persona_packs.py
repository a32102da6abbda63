"""What a pack may hold, and how it is refused."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.config import Decoding, Persona
from bot.personas.archive import unpack, write_archive
from bot.personas.errors import PersonaError
from bot.personas.manifest import Manifest, PackModel, manifest_text, read_manifest
from bot.personas.pack import verify, write_sums

MANIFEST = Manifest(
    name="nell",
    persona=Persona(name="Captain Nell", greeting="Ahoy: ${HOME}!", facts=("I live on a ship.",), safety="family"),
    decoding=Decoding(temperature=0.9, candidates=4),
    model=PackModel(checkpoint="starter"),
    licence="CC0-1.0",
)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A whole one, without weights."""
    folder = tmp_path / "nell"
    folder.mkdir()
    (folder / "persona.yaml").write_text(manifest_text(MANIFEST))
    (folder / "CARD.md").write_text("# Captain Nell\n")
    write_sums(folder)
    return folder


def test_a_manifest_is_read_as_it_was_written(pack: Path) -> None:
    assert read_manifest(pack / "persona.yaml") == MANIFEST
    assert verify(pack) == MANIFEST


def test_an_archive_has_the_same_bytes_each_time_and_unpacks_to_the_same_pack(pack: Path, tmp_path: Path) -> None:
    one, two, into = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz", tmp_path / "into"
    write_archive(pack, one, "nell")
    write_archive(pack, two, "nell")
    assert one.read_bytes() == two.read_bytes()
    into.mkdir()
    unpack(one, into)
    assert verify(into) == MANIFEST


def change(name: str) -> Callable[[Path], object]:
    return lambda pack: (pack / name).write_text("other\n")


def listed(name: str, content: str) -> Callable[[Path], object]:
    """A file that the sums know, as a maker of bad packs would add it."""

    def add(pack: Path) -> None:
        (pack / name).parent.mkdir(exist_ok=True)
        (pack / name).write_text(content)
        write_sums(pack)

    return add


def renamed(text: str, by: str) -> Callable[[Path], object]:
    def rename(pack: Path) -> None:
        file = pack / "persona.yaml"
        file.write_text(file.read_text().replace(text, by))
        write_sums(pack)

    return rename


def link(pack: Path) -> None:
    os.symlink("/etc/passwd", pack / "samples.md")


def pipe(pack: Path) -> None:
    os.mkfifo(pack / "samples.md")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change("CARD.md"), "CARD.md is not what its maker packed"),
        (change("SHA256SUMS"), "SHA256SUMS:1: this is no line"),
        (lambda pack: (pack / "CARD.md").unlink(), "there is no CARD.md in it"),
        (change("samples.md"), "'samples.md' is there and is not listed"),
        (change("run.py"), "'run.py' has no place in a persona pack"),
        (lambda pack: (pack / "code").mkdir(), "'code' is a folder"),
        (link, "'samples.md' is a link"),
        (pipe, "'samples.md' is a special file"),
        (listed("figures.json", "{"), "this is not JSON"),
        (listed("figures.json", "[]"), "this holds no object"),
        (listed("figures.json", '{"auto_map": {"AutoModel": "x.Y"}}'), "auto_map names code"),
        (listed("model/model.safetensors", "pickle"), "these are no safetensors"),
        (renamed("starter", "model"), "has no weights of its own"),
        (renamed("starter", "../../etc"), "model.checkpoint: Value error, '../../etc' is neither"),
        (renamed("starter", "/etc"), "neither"),
        (renamed("name: nell", "name: ../nell"), "name: String should match pattern"),
        (renamed("format: 1", "format: 2"), "format: Input should be 1"),
        (renamed("licence:", "code: x\nlicence:"), "code: Extra inputs are not permitted"),
        (renamed("CC0-1.0", "!!python/object:os.system x"), "is not allowed"),
    ],
)
def test_a_pack_that_is_not_what_it_should_be_is_refused(
    pack: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(pack)
    with pytest.raises(PersonaError) as refused:
        verify(pack)
    assert said in str(refused.value)


def weights(pack: Path, **config: object) -> None:
    """An adapter of one number."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (pack / "model").mkdir()
    (pack / "model/adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    (pack / "model/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))


def test_an_adapter_stands_beside_the_model_that_the_manifest_names(pack: Path) -> None:
    own = MANIFEST.model_copy(update={"model": PackModel(checkpoint="model", base="smollm2")})
    (pack / "persona.yaml").write_text(manifest_text(own))
    weights(pack, base_model_name_or_path="smollm2")
    write_sums(pack)
    assert verify(pack) == own
    (pack / "model/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/models/rosie"}))
    write_sums(pack)
    with pytest.raises(PersonaError, match="says /models/rosie"):
        verify(pack)


def archive(file: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size) if entry.isreg() else None)
    return file


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 1) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size if kind == tarfile.REGTYPE else 0, "/etc/passwd"
    return made


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("/nell/CARD.md")], "leads out of the pack"),
        ([entry("nell/../../CARD.md")], "leads out of the pack"),
        ([entry("nell\\..\\CARD.md")], "leads out of the pack"),
        ([entry("nell/CARD.md", tarfile.SYMTYPE)], "is a link or a special file"),
        ([entry("nell/CARD.md", tarfile.LNKTYPE)], "is a link or a special file"),
        ([entry("nell/CARD.md", tarfile.CHRTYPE)], "is a link or a special file"),
        ([entry("CARD.md")], "lies in no folder"),
        ([entry("nell/CARD.md"), entry("other/CARD.md")], "more than one folder"),
        ([entry("nell/model/code.py")], "has no place in a persona pack"),
        ([entry("nell/CARD.md", size=(1 << 20) + 1)], "larger than packs may be"),
        ([entry("nell/CARD.md"), entry("nell/CARD.md")], "File exists"),
    ],
)
def test_an_archive_that_wants_more_than_to_be_a_pack_is_refused(
    tmp_path: Path, entries: list[tarfile.TarInfo], said: str
) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(PersonaError) as refused:
        unpack(archive(tmp_path / "bad.tar.gz", *entries), tmp_path / "into")
    assert said in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.gz", "into"]


def test_a_header_that_asks_for_all_of_the_memory_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("nell/PaxHeaders")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "bad.tar.gz").write_bytes(gzip.compress(header.tobuf() + b"\0" * 4096))
    with pytest.raises(PersonaError, match="unreasonable length"):
        unpack(tmp_path / "bad.tar.gz", tmp_path)


@pytest.mark.parametrize("cut", [10, 100, -20])
def test_half_an_archive_is_a_message(pack: Path, tmp_path: Path, cut: int) -> None:
    write_archive(pack, tmp_path / "whole.tar.gz", "nell")
    (tmp_path / "half.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:cut])
    (tmp_path / "into").mkdir()
    with pytest.raises(PersonaError, match="this is no whole"):
        unpack(tmp_path / "half.tar.gz", tmp_path / "into")


def banter(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(folder / "config.yaml"), "persona", *arguments])


def test_a_persona_without_weights_travels_from_one_configuration_to_another(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    first = banter(tmp_path, "import", str(pack))
    assert first.exit_code == 0, first.output
    assert "restart" not in first.output  # the starter runs here already
    sent = tmp_path / "sent.tar.gz"
    assert banter(tmp_path, "export", "nell", str(sent)).exit_code == 0
    there = tmp_path / "there"
    there.mkdir()
    (there / "config.yaml").write_text("model: {checkpoint: owner/model}\n")
    second = banter(there, "import", str(sent))
    assert second.exit_code == 0, second.output
    assert "model: {checkpoint: starter}" in second.output
    assert read_manifest(there / "personas/nell/persona.yaml") == MANIFEST
    shown = banter(there, "show", "nell").output
    assert "greeting: Ahoy: ${HOME}!" in shown
    assert "licence: CC0-1.0" in shown


def test_a_persona_written_by_hand_is_exported_with_its_way_of_writing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "decoding: {calm: {temperature: 0.3}}\npersonas: {default: {}, sam: {name: Sam, decoding: calm}}\n"
    )
    out = tmp_path / "sam"
    result = banter(tmp_path, "export", "sam", str(out), "--licence", "MIT")
    assert result.exit_code == 0, result.output
    manifest = verify(out)
    assert (manifest.decoding.temperature, manifest.model.checkpoint, manifest.licence) == (0.3, "starter", "MIT")
    assert "written by hand" in (out / "CARD.md").read_text()


def test_a_refused_import_leaves_nothing_behind(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    (pack / "CARD.md").write_text("other")
    result = banter(tmp_path, "import", str(pack))
    assert (result.exit_code, list((tmp_path / "personas").iterdir())) == (1, [])
    assert (tmp_path / "config.yaml").read_text() == "version: 1\n"
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "nowhere.tar.gz"], "there is no such pack"),
        (["import", "nowhere"], "there is no such pack"),
        (["show", "nobody"], "neither a pack nor a persona"),
        (["export", "nobody", "out"], "has no persona 'nobody'. It has: default."),
        (["import", "x", "--as", "a b"], "no name people can type"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    result = banter(tmp_path, *arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_control_characters_of_a_strangers_pack_do_not_reach_the_terminal(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    (pack / "CARD.md").write_text("# \x1b[2JNell\n")
    write_sums(pack)
    shown = banter(tmp_path, "show", str(pack))
    assert "\x1b" not in shown.output
    assert "[2JNell" in shown.output
