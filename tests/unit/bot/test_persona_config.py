"""A persona is put into config.yaml without changing anything else of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config import ConfigError, Decoding, Persona, load_config
from bot.personas.config_edit import Addition, add_to_file, added

NELL = Addition(name="nell", persona=Persona(name="Nell", greeting="Ahoy!"), decoding=None)
CALM = Addition(name="nell", persona=Persona(name="Nell"), decoding=Decoding(temperature=0.3))

ENTRY = '{0}nell:\n{0}  name: "Nell"\n{0}  greeting: "Ahoy!"\n'


def test_every_line_of_the_shipped_file_stays(tmp_path: Path) -> None:
    before = (Path(__file__).parents[3] / "config.yaml").read_text(encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(before, encoding="utf-8")
    assert add_to_file(file, CALM)
    after = file.read_text(encoding="utf-8")
    new = [line for line in after.splitlines() if line not in before.splitlines()]
    assert new == ["  nell:", "    temperature: 0.3", "  nell:", '    name: "Nell"', '    decoding: "nell"']
    config = load_config(file)
    assert config.decoding["nell"].temperature == 0.3
    assert config.personas["nell"].decoding == "nell"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version: 1\n", "version: 1\n\npersonas:\n  default: {}\n" + ENTRY.format("  ")),
        ("version: 1", "version: 1\n\npersonas:\n  default: {}\n" + ENTRY.format("  ")),
        (
            "personas:  # who\n  # none yet\nlogs: {level: info}\n",
            "personas:  # who\n  default: {}\n" + ENTRY.format("  ") + "  # none yet\nlogs: {level: info}\n",
        ),
        (
            "personas:\n    default:\n        greeting: >\n           one\n\n           two\n\n    # more\nlogs: {}\n",
            "personas:\n    default:\n        greeting: >\n           one\n\n           two\n"
            '    nell:\n      name: "Nell"\n      greeting: "Ahoy!"\n\n    # more\nlogs: {}\n',
        ),
        ("personas:\n  default: {}", "personas:\n  default: {}\n" + ENTRY.format("  ")),
    ],
)
def test_the_persona_stands_behind_the_last_one(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(before)
    assert add_to_file(file, NELL)
    assert file.read_text() == after


def test_line_ends_of_windows_a_byte_order_mark_and_the_mode_stay(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfpersonas:\r\n  default: {}\r\n")
    file.chmod(0o600)
    assert add_to_file(file, NELL)
    assert file.read_bytes() == (
        b'\xef\xbb\xbfpersonas:\r\n  default: {}\r\n  nell:\r\n    name: "Nell"\r\n    greeting: "Ahoy!"\r\n'
    )
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("version: 1\n")
    (tmp_path / "config.yaml").symlink_to("real.yaml")
    assert add_to_file(tmp_path / "config.yaml", NELL)
    assert (tmp_path / "config.yaml").is_symlink()
    assert "nell" in (tmp_path / "real.yaml").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "personas: {default: {}}\n",
        "personas:\n  {default: {}}\n",
        "? personas\n: default: {}\n",
        "{personas: {default: {}}}\n",
    ],
)
def test_where_no_line_fits_nothing_is_written_and_the_lines_are_there_to_paste(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert not add_to_file(file, NELL)
    assert file.read_text() == text
    pasted = load_config(file, text="decoding:\n  default: {}\n" + NELL.lines_to_paste() + "  default: {}\n")
    assert pasted.personas["nell"].greeting == "Ahoy!"


def test_a_file_that_is_wrong_already_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("personas:\n  default: {nmae: x}\n")
    with pytest.raises(ConfigError, match="nmae"):
        add_to_file(file, NELL)
    assert file.read_text() == "personas:\n  default: {nmae: x}\n"


@given(text=st.text(min_size=1, max_size=60).map(str.strip).filter(bool))
def test_whatever_a_persona_says_it_says_it_still(text: str) -> None:
    """Also what looks like a variable, a remark, an escape or another key."""
    persona = Persona(name=text, greeting=f"a{text}", facts=(f"${{HOME}} {text}", f"x: {text} # y"))
    changed = added("version: 1\n", "config.yaml", Addition(name="nell", persona=persona, decoding=None))
    assert changed is not None
    assert load_config(Path("config.yaml"), env={}, text=changed).personas["nell"] == persona
