"""What files a model would be loaded from, and how large they are; nothing large is read, converted or downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.checkpoints.embedded import converted_dir, find_gguf, is_whole
from pipeline.checkpoints.locate import EMBEDDED, WEIGHTS


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """Where one model's config, tokenizer and weights are."""

    name: str
    """What `--model` says."""
    place: str
    """Where its weights come from, in words."""
    weight_bytes: int | None
    """Size of the weight files; none if nobody can be asked."""
    source: dict[str, str] = field(default_factory=dict)
    """What `from_pretrained` of a config or a tokenizer is given."""


def model_files(model: str) -> ModelFiles:
    """Finds a model's files.

    Args:
        model: What `check_model` has let pass.

    Raises:
        ValueError: The embedded model's package is missing.
    """
    if model == EMBEDDED:
        return _embedded()
    if Path(model).is_dir():
        source = {"pretrained_model_name_or_path": model}
        return ModelFiles(name=model, place=model, weight_bytes=weights_in(Path(model)), source=source)
    return _on_the_hub(model)


def weights_in(folder: Path) -> int:
    """Bytes of the weights in a folder, in the format that transformers would choose."""
    found = (sum(path.stat().st_size for path in folder.glob(pattern)) for pattern in WEIGHTS)
    return next((size for size in found if size), 0)


def _embedded() -> ModelFiles:
    folder, gguf = converted_dir(), find_gguf()
    if is_whole(folder):
        source = {"pretrained_model_name_or_path": str(folder)}
        return ModelFiles(name=EMBEDDED, place=str(folder), weight_bytes=weights_in(folder), source=source)
    return ModelFiles(
        name=EMBEDDED,
        place=f"{gguf}, converted on first use to {folder} (540 MB)",
        weight_bytes=gguf.stat().st_size,
        source={"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name},
    )


def _on_the_hub(model: str) -> ModelFiles:
    """A Hub model, whose config `check_model` has brought into the local cache."""
    import huggingface_hub

    source = {"pretrained_model_name_or_path": model}
    cached = Path(huggingface_hub.hf_hub_download(model, "config.json")).parent
    if size := weights_in(cached):
        return ModelFiles(name=model, place=f"{cached} (local cache)", weight_bytes=size, source=source)
    place = f"the Hugging Face Hub ({model}), downloaded on first use"
    return ModelFiles(name=model, place=place, weight_bytes=_size_on_the_hub(model), source=source)


def _size_on_the_hub(model: str) -> int | None:
    """Bytes of a model's weight files on the Hub; none if it does not say."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        siblings = huggingface_hub.model_info(model, files_metadata=True).siblings or []
    except (HfHubHTTPError, OSError):
        return None
    names = {one.rfilename: one.size or 0 for one in siblings}
    sizes = (sum(size for name, size in names.items() if Path(name).match(pattern)) for pattern in WEIGHTS)
    return next((size for size in sizes if size), None)
