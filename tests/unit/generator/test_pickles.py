"""Pickled state dicts: what is read, and what is said of the files that cannot be."""

import os
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bot.generator.errors import CheckpointError
from bot.generator.formats.pickles import is_mask, read_shapes, read_state

STATE = {"wte": torch.arange(1200.0).reshape(300, 4).half(), "bias": torch.ones(3)}


class Intruder:
    """Unpickled, it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.fixture(params=[True, False], ids=["zip", "before zip"])
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"_use_new_zipfile_serialization": request.param}


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"model_state_dict": STATE, "loss": np.float64(2.5), "epoch": 3},
        {"state_dict": STATE, "args": {"lr": 1e-5}},
    ],
    ids=["plain", "training checkpoint", "state_dict"],
)
def test_a_state_is_read_as_it_is(tmp_path: Path, layout: dict[str, Any], wrapped: dict[str, Any]) -> None:
    file = tmp_path / "w.pkl"
    torch.save(wrapped, file, **layout)
    found = read_state(file)
    assert found.keys() == STATE.keys()
    assert found["wte"].dtype == torch.float16
    assert all(torch.equal(found[name], value) for name, value in STATE.items())
    assert read_shapes(file) == {"wte": (300, 4), "bias": (3,)}


def test_code_is_never_run(tmp_path: Path, layout: dict[str, Any]) -> None:
    file, target = tmp_path / "w.pkl", tmp_path / "made"
    torch.save({"model_state_dict": STATE, "extra": Intruder(target)}, file, **layout)
    for read in (read_state, read_shapes):
        with pytest.raises(CheckpointError, match=r"w\.pkl.*mkdir.*never run"):
            read(file)
    file.write_bytes(pickle.dumps(Intruder(target)))
    with pytest.raises(CheckpointError, match=r"w\.pkl"):
        read_state(file)
    assert not target.exists()


def test_classes_are_named_and_refused(tmp_path: Path, layout: dict[str, Any]) -> None:
    file = tmp_path / "w.ckpt"
    torch.save({"model_state_dict": STATE, "args": Namespace(lr=1)}, file, **layout)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*state_dict\(\)"):
        read_state(file)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, layout: dict[str, Any], share: float) -> None:
    file = tmp_path / "w.pkl"
    torch.save(STATE, file, **layout)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"w\.pkl.*cut off.*Copy it again"):
        read_state(file)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "w.pkl"
    torch.save(STATE, file)
    content = bytearray(file.read_bytes())
    content[content.index(STATE["wte"].numpy().tobytes()) + 100] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        read_state(file)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "an empty file"),
        (b"hello there", "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\x01" * 99, "its end is missing"),
        (pickle.dumps({"a": 1}), "cannot be read as tensors"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "w.pkl"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint):
        read_state(file)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, torch.ones(2)], ids=["list", "empty", "number", "tensor"])
def test_a_file_without_weights_says_so(tmp_path: Path, layout: dict[str, Any], content: Any) -> None:
    torch.save(content, tmp_path / "w.pkl", **layout)
    with pytest.raises(CheckpointError, match="no weights"):
        read_state(tmp_path / "w.pkl")


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    torch.save({**STATE, "epoch": 3}, tmp_path / "w.pkl")
    with pytest.raises(CheckpointError, match="'epoch' is no tensor"):
        read_state(tmp_path / "w.pkl")


def test_only_the_masks_are_masks() -> None:
    assert is_mask("transformer.h.0.attn.bias")
    assert is_mask("h.11.attn.masked_bias")
    assert not is_mask("transformer.h.0.attn.c_attn.bias")
