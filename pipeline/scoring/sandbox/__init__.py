"""A sandbox for answers that are programs: what a model wrote is run as if an attacker had written it."""

from pipeline.scoring.sandbox.isolation import Isolation, isolation
from pipeline.scoring.sandbox.sandbox import CodeReason, CodeRun, Limits, Sandbox, SandboxError

__all__ = ["CodeReason", "CodeRun", "Isolation", "Limits", "Sandbox", "SandboxError", "isolation"]
