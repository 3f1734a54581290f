"""Which devices a model is loaded to, and where its inputs enter.

A model over several GPUs is spread by accelerate, whole layers at a time: hooks on its modules bring what they are
given to the device that they compute on. Working memory is never moved so; each layer's stays where the layer is.
"""

from __future__ import annotations

from typing import Any

import torch


def placement(device: str | None, gpus: int) -> dict[str, Any]:
    """Where `from_pretrained` is to put a model, as its arguments.

    Args:
        device: One device; by default a GPU where there is one.
        gpus: Over how many GPUs, the first ones that can be seen; with 1 the model is on one device.

    Raises:
        ValueError: There are not so many GPUs, or a device was named besides.
    """
    if gpus == 1:
        return {"device_map": device or ("cuda" if torch.cuda.is_available() else "cpu")}
    visible = torch.cuda.device_count()
    if device is not None or not 1 < gpus <= visible:
        where = "" if device is None else f" on device {device!r}"
        raise ValueError(
            f"a model can't be spread over {gpus} GPUs{where}: {visible} can be seen; allowed: 1 to {max(visible, 1)}"
            f"{'' if device is None else ', without naming a device'}"
        )
    free = {index: torch.cuda.mem_get_info(index)[0] for index in range(gpus)}
    return {"device_map": "balanced", "max_memory": free}


def refuse_offload(causal_lm: Any) -> None:
    """Refuses a model of which accelerate has left a part in host memory or on disk, to be fetched in every step.

    Raises:
        ValueError: It does not fit on the devices; the message names what was left over.
    """
    placed: dict[str, Any] = getattr(causal_lm, "hf_device_map", None) or {}
    outside = [name for name, device in placed.items() if str(device) in {"cpu", "disk", "meta"}]
    if outside:
        raise ValueError(
            f"it does not fit: {len(outside)} of its {len(placed)} modules, such as {outside[0]!r}, have no room on "
            "the GPUs; give it more of them"
        )


def main_device(causal_lm: Any) -> torch.device:
    """Where a model's inputs enter: the device of its input embeddings."""
    device: torch.device = causal_lm.get_input_embeddings().weight.device
    return device
