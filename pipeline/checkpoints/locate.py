"""From a model's name to where transformers finds it, and what can be wrong with it before anything is loaded."""

from __future__ import annotations

import os
import os.path
from pathlib import Path

from pipeline.checkpoints.embedded import embedded_model_dir, find_gguf

EMBEDDED = "embedded"
"""The name of the model that needs no download."""
WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
"""File patterns that hold weights in a model folder."""


def model_source(model: str) -> str:
    """What to give to transformers: a folder or a Hub id. Converts the embedded model on first use."""
    return str(embedded_model_dir()) if model == EMBEDDED else model


def check_model(model: str) -> str:
    """Finds what is wrong with `--model` without loading it.

    Returns:
        The model's name as other processes can use it: a folder becomes absolute.

    Raises:
        ValueError: The embedded model's package is missing, a folder has no model in it, or the Hub has no such model
            or can't be asked; one line that says what to do.
    """
    folder = Path(model).expanduser()
    if model == EMBEDDED:
        find_gguf()
    elif os.path.isdir(folder):  # unlike Path.is_dir(), it takes a name that is too long for no folder's
        _check_folder(folder)
        return str(folder.resolve())
    elif folder.is_absolute() or model.startswith(("./", "../")) or model.count("/") > 1:
        raise ValueError(f"--model {model!r} is no folder; allowed: a folder, a Hub id such as Qwen/Qwen3-4B, embedded")
    else:
        _check_hub(model)
    return model


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"--model {str(folder)!r} has no config.json; a model folder holds config, weights and tokenizer"
        )
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise ValueError(f"--model {str(folder)!r} has no weights ({', '.join(WEIGHTS)})")
    if not any(folder.glob("*token*")):
        raise ValueError(f"--model {str(folder)!r} has no tokenizer files (tokenizer.json or tokenizer.model)")


def _check_hub(model: str) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        huggingface_hub.hf_hub_download(model, "config.json")
    except GatedRepoError as error:
        raise ValueError(f"--model {model!r} is gated: accept its terms on the Hub, then `hf auth login`") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(f"--model {model!r} is neither a folder here nor a model on the Hub") from error
    except (HfHubHTTPError, OSError) as error:
        home = os.environ.get("HF_HOME", "~/.cache/huggingface")
        raise ValueError(
            f"--model {model!r} is not in the local cache ({home}) and the Hugging Face Hub can't be reached; "
            "give a folder with the model, or --model embedded"
        ) from error
