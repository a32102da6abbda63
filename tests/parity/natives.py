"""The small checkpoints in their systems' own files, by system and what they are."""

import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Native:
    """A checkpoint: the folder with all of its files, what is named, and the file of its weights."""

    system: str
    role: str
    folder: str
    named: str
    weights: str

    @property
    def path(self) -> Path:
        return HERE / self.folder / self.named

    def copied(self, place: Path) -> Path:
        """What is to be named of a copy of the whole folder, without the recorded numbers."""
        copy = place / "native"
        shutil.copytree(HERE / self.folder, copy, ignore=shutil.ignore_patterns("golden.json", "toy*", "train*"))
        for file in copy.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        return copy / self.named


NATIVES = {
    "dialogpt": Native("dialogpt", "generator", "dialogpt", "small_ft.pkl", "small_ft.pkl"),
    "dialogrpt": Native("dialogrpt", "ranker", "dialogrpt", "restore/updown.pth", "restore/updown.pth"),
    "devjwsong": Native("devjwsong", "generator", "devjwsong", ".", "pytorch_model.bin"),
    "chitchat": Native("gpt2-chitchat", "generator", "gpt2-chitchat", ".", "dialogue_model/pytorch_model.bin"),
    "chitchat-mmi": Native("gpt2-chitchat", "generator", "gpt2-chitchat", "mmi_model", "mmi_model/pytorch_model.bin"),
    "pingpong-gpt": Native("pingpong-gpt", "generator", "pingpong-gpt", "model.pth", "model.pth"),
    "pingpong-meena": Native("pingpong-meena", "generator", "pingpong-meena", ".", "model.pth"),
}
GENERATORS = [name for name, native in NATIVES.items() if native.role == "generator"]
