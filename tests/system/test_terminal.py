"""The terminal: pipes are conversations, mistakes are messages."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.system.process import REPOSITORY, settings


async def banter(
    folder: Path, *arguments: str, stdin: bytes = b"", config: str | None = None, **environment: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one run in a folder of its own."""
    path = folder / "config.yaml"
    if config is not None:
        path.write_text(config)
    elif not path.exists():
        path.write_text(json.dumps(settings()))
    inherited = {key: value for key, value in os.environ.items() if not key.endswith("_BOT_TOKEN")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "--config",
        str(path),
        *arguments,
        cwd=REPOSITORY,
        env={**inherited, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        out, error = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def test_each_line_of_a_pipe_is_answered_and_the_end_of_input_is_a_good_end(tmp_path: Path) -> None:
    code, out, error = await banter(tmp_path, "run", stdin=b"hi\nhow are you?\n\nI like pizza\n")
    assert code == 0
    assert len([line for line in out.splitlines() if line.strip()]) == 3
    assert "DISCORD_BOT_TOKEN" in error
    assert "Traceback" not in error


async def test_commands_work_in_a_pipe(tmp_path: Path) -> None:
    code, out, _ = await banter(tmp_path, "run", stdin=b"/help\n/nonsense\n")
    assert code == 0
    assert "/forget" in out
    assert "don't know that command" in out


async def test_a_file_as_input_works_like_a_pipe(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("hello\n")
    (tmp_path / "config.yaml").write_text(json.dumps(settings()))
    with lines.open() as stdin:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "--config", str(tmp_path / "config.yaml"), "chat",
            cwd=REPOSITORY, stdin=stdin, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(100):
            out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.strip()


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\n", "\u200b\u200b\n".encode(), b"x" * 1_000_000 + b"\n", "\N{PARTY POPPER}\n".encode()]
)
async def test_any_line_gets_an_answer(tmp_path: Path, line: bytes) -> None:
    code, out, error = await banter(tmp_path, "run", stdin=line)
    assert code == 0
    assert out.strip()
    assert "Traceback" not in error


async def test_a_broken_configuration_names_every_mistake_and_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    broken = "decoding:\n  default: {temprature: 1, top_p: 7}\nlimits: {user: often}\nbott: {}\n"
    code, out, error = await banter(tmp_path, "run", config=broken)
    assert code == 2
    assert out == ""
    assert "temperature" in error
    assert all(f"config.yaml:{line}" in error for line in (2, 3, 4))
    assert "Traceback" not in error


async def test_a_missing_configuration_is_a_message(tmp_path: Path) -> None:
    code, _, error = await banter(tmp_path, "--config", str(tmp_path / "nowhere.yaml"), "run")
    assert code == 2
    assert "nowhere.yaml" in error
    assert "Traceback" not in error


async def test_a_folder_that_is_no_model_ends_with_two_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = json.dumps(settings(model={"checkpoint": str(tmp_path / "empty")}))
    code, _, error = await banter(tmp_path, "run", stdin=b"hi\n", config=config)
    assert code == 2
    assert str(tmp_path / "empty") in error
    assert "Traceback" not in error


async def test_a_database_that_is_none_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "banter.db"
    file.write_bytes(b"this is no database, it only looks like a file" * 100)
    before = file.read_bytes()
    code, _, error = await banter(tmp_path, "run", stdin=b"hi\n")
    assert code == 3
    assert "backup" in error
    assert "Traceback" not in error
    assert file.read_bytes() == before


async def test_a_mistyped_command_line_is_told_apart_from_a_broken_configuration(tmp_path: Path) -> None:
    code, _, error = await banter(tmp_path, "rnu")
    assert code == 64
    assert "rnu" in error


async def test_check_does_what_a_start_does(tmp_path: Path) -> None:
    code, out, _ = await banter(tmp_path, "check")
    assert code == 0
    assert [line[:3] for line in out.splitlines()] == ["ok ", "ok ", "ok ", "-- "]


async def test_help_is_quick_because_it_imports_nothing_heavy(tmp_path: Path) -> None:
    script = "import sys, bot.cli; sys.exit(any(name in sys.modules for name in ('torch', 'sqlalchemy', 'pydantic')))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=REPOSITORY)
    assert await process.wait() == 0
