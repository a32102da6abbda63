"""The cases of DialoGPT's own evaluation pipeline, and what it prints for each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True, slots=True)
class Run:
    """One case in one setting; `expected` is the golden object of that run."""

    name: str
    file: Path
    settings: dict[str, Any]
    expected: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.name}{'-clean' if self.settings['cleaned'] else ''}-{self.settings['references']}"


def golden_of(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / "golden" / f"{name}.json").read_text(encoding="utf-8"))


def case_names() -> list[str]:
    return sorted(file.stem for file in (FIXTURES / "cases").glob("*.json"))


def runs() -> Iterator[Run]:
    for name in case_names():
        for run in golden_of(name)["runs"]:
            settings = {"cleaned": run["clean"], "references": run["n_refs"], "hold_out": run["hold_out"]}
            yield Run(name, FIXTURES / "cases" / f"{name}.json", settings, run)
