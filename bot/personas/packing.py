"""Put a pack together: from what a build left behind, or from a persona in config.yaml."""

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bot.config import Config
from bot.generator.checkpoints import STARTER
from bot.generator.formats.registry import open_checkpoint
from bot.personas.archive import ENDINGS, is_archive, write_archive
from bot.personas.build import MADE, Job, Result, manifest_of
from bot.personas.card import card_by_hand, card_of_build
from bot.personas.errors import PersonaError
from bot.personas.learning import MODEL
from bot.personas.manifest import FILE, OWN_MODEL, Manifest, PackModel, manifest_text
from bot.personas.pack import ADAPTER, CARD, FIGURES, SAMPLES, SUMS, size_limit, verify, write_sums

_NAMED = ("starter", "smollm2")


def pack(job: Job) -> tuple[Result, str]:
    """The pack's folder, and beside it the same as one file."""
    plan = job.plan
    manifest = manifest_of(plan)
    begun = job.work / "pack"
    shutil.rmtree(begun, ignore_errors=True)  # half of one, from a run that was killed
    begun.mkdir()
    _copy_model(job.work / MODEL, begun)
    shutil.copyfile(job.work / SAMPLES, begun / SAMPLES)
    text = json.dumps(job.done["figures"], indent=2, ensure_ascii=False) + "\n"
    (begun / FIGURES).write_text(text, encoding="utf-8")
    _finish(begun, manifest, card_of_build(job, manifest))
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    if plan.out.exists():  # of a run that was killed between here and the end; there was none at the start
        shutil.rmtree(plan.out)
    shutil.move(begun, plan.out)
    archive = plan.out.with_name(plan.out.name + ENDINGS[0])
    write_archive(plan.out, archive, plan.name)
    return {MADE: [str(plan.out), str(archive)]}, f"{plan.out} and {archive}"


def export(config: Config, name: str, personas: Path, out: Path, licence: str | None) -> Path:
    """Write the persona of config.yaml as a pack, `out`: a folder, or one file if it is called so.

    Card, samples and figures come from the pack that it was imported from, in `personas`, where there is one. Raises
    PersonaError, CheckpointError and OSError.
    """
    if name not in config.personas:
        raise PersonaError(f"config.yaml has no persona {name!r}. It has: {', '.join(sorted(config.personas))}.")
    if out.exists():
        raise PersonaError(f"{out} is there already. Name another place.")
    origin = personas / name
    known = verify(origin) if (origin / FILE).is_file() else None
    persona = config.personas[name]
    model, folder = _model_of(config, origin, known)
    manifest = Manifest(
        name=name,
        persona=persona.model_copy(update={"decoding": "default"}),
        decoding=config.decoding[persona.decoding],
        model=model,
        licence=licence or (known.licence if known else "Not stated: ask whoever sent it."),
    )
    begun = out.with_name(f".{out.name}.pack-{os.getpid()}")
    try:
        begun.mkdir(parents=True)
        if folder is not None:
            _copy_model(folder, begun)
        card = card_by_hand(manifest)
        if known is not None:
            card = (origin / CARD).read_text(encoding="utf-8")
            _copy(origin, begun, (SAMPLES, FIGURES))
        _finish(begun, manifest, card)
        if is_archive(out):
            write_archive(begun, out, name)
        else:
            os.replace(begun, out)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return out


def _model_of(config: Config, origin: Path, known: Manifest | None) -> tuple[PackModel, Path | None]:
    """The model that the persona was made for, and its folder if the pack is to bring it."""
    if known is not None:
        return known.model, origin / OWN_MODEL if known.model.is_own else None
    named = config.model.checkpoint
    folder = Path(named).expanduser()
    if named in _NAMED or not folder.exists():
        return PackModel(checkpoint=named), None
    if STARTER in folder.resolve().parents:
        return PackModel(checkpoint=_NAMED[0]), None
    found = open_checkpoint(named)
    if not found.path.is_dir():
        raise PersonaError(
            f"{found.path}: a pack holds models as safetensors in the hub layout. Write it anew with: banter model "
            f"convert {named} FOLDER, and name that folder in config.yaml."
        )
    adapter = found.path / Path(ADAPTER).name
    base = None
    if adapter.is_file():
        base = str(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path"))
    return PackModel(checkpoint=OWN_MODEL, base=base), found.path


def _copy_model(folder: Path, pack: Path) -> None:
    """What packs have of a checkpoint's folder; what a training run left there besides stays."""
    (pack / OWN_MODEL).mkdir()
    files = sorted(path for path in folder.iterdir() if path.is_file() and size_limit(f"{OWN_MODEL}/{path.name}"))
    if not any(path.suffix == ".safetensors" for path in files):
        raise PersonaError(
            f"{folder}: there are no safetensors in it. Write the model anew with: banter model convert {folder} FOLDER"
        )
    _copy(folder, pack / OWN_MODEL, (path.name for path in files))


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            shutil.copyfile(source / name, target / name)


def _finish(begun: Path, manifest: Manifest, card: str) -> None:
    (begun / FILE).write_text(manifest_text(manifest), encoding="utf-8")
    (begun / CARD).write_text(card, encoding="utf-8")
    (begun / SUMS).unlink(missing_ok=True)
    write_sums(begun)
    verify(begun)
