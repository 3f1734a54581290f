"""A sandbox for answers that are programs: what a model wrote is run as if an attacker had written it.

An answer's program and its tests run in two processes. The tests call the answer's functions over a link that carries
plain data, so nothing that the program does to its own process can change a verdict: it can only return values.

It protects, by what the kernel refuses (`Isolation`; each layer by itself, where more than one works):
    files        seccomp and Landlock, or namespaces: reads nothing but the interpreter, its packages and the system's
                 libraries; writes plain files into a scratch folder of its own, and nothing else anywhere
    network      no sockets, to this machine or another
    processes    no fork, no exec, no signals, no tracing, no shared memory; its own environment is empty
    machine      limits on processor and wall time, address space, files, open files, threads; output goes nowhere
All of it ends with the warden, and the warden with its owner, also where that is killed.

It does not protect against: faults of the kernel, or of the CPU; what can be learnt from time or from the names and
sizes of files (`stat` is not refused without namespaces); a program that guesses what its tests expect. With `limits`
alone (no Linux, or neither bubblewrap nor Landlock) there is no isolation: `strict` refuses that.

What tests can't see: what a program prints, how it changes its arguments, the identity of values (of a NaN, say), and
objects that are no plain data, such as those of its own classes, which arrive as values that are equal to nothing.
Iterators arrive with all their items. Programs can't start processes or make folders.
"""

from pipeline.scoring.sandbox.isolation import Isolation, isolation
from pipeline.scoring.sandbox.sandbox import Limits, Sandbox
from pipeline.scoring.sandbox.verdicts import BrokenTestsError, CodeReason, CodeRun, SandboxError

__all__ = ["BrokenTestsError", "CodeReason", "CodeRun", "Isolation", "Limits", "Sandbox", "SandboxError", "isolation"]
