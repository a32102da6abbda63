"""The project holds its own rules: format, lint, types, imports, documents that tell the truth."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "ruff", "check", "."],
        ["-m", "mypy"],
        ["-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"],
    ],
    ids=["format", "lint", "types", "imports"],
)
def test_the_code_keeps_the_rules(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_dependency_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[<>=~!; ]", one)[0].lower().replace("_", "-") for one in wanted} - {"banter"}
    assert names <= pinned
    assert "torch==2.13.0" in project["dependencies"]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert missing == []


def test_the_readmes_commands_exist() -> None:
    from click.testing import CliRunner

    from bot.cli import main

    text = (ROOT / "README.md").read_text()
    for words in {tuple(found.split()[:2]) for found in re.findall(r"banter ((?:[a-z-]+ ?){1,2})", text)}:
        command, *rest = words
        if command not in main.list_commands(None):  # type: ignore[arg-type] - the context is not used
            continue
        arguments = [
            command,
            *[word for word in rest if word in ("list", "retry", "drop", "check", "backup")],
            "--help",
        ]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"banter {' '.join(words)}: {result.output}"


def test_targets_of_the_makefile_are_those_that_are_documented() -> None:
    makefile = (ROOT / "Makefile").read_text()
    documents = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    for target in re.findall(r"[`$] ?make (?:-s )?([a-z0-9]+)", documents):
        assert f"\n{target}:" in makefile, target
