"""The seccomp filter: which system calls code in the sandbox may make. Built with libseccomp, once per process.

It is a list of what is allowed, so that calls which are added to kernels later are refused too. There is no way in it
to a network, to another process, to a signal, to a program file, or to a file's owner and permissions.
"""

from __future__ import annotations

import errno
import os
from functools import cache

_ALLOWED = (
    "read write readv writev pread64 pwrite64 lseek close dup dup2 dup3 pipe pipe2 "
    "open openat access faccessat faccessat2 stat lstat fstat newfstatat statx fstatfs statfs "
    "readlink readlinkat getcwd chdir fchdir getdents64 unlink rename renameat renameat2 ftruncate "
    "fsync fdatasync umask mmap munmap mprotect mremap madvise brk mincore "
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack pause "
    "select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 "
    "sendto recvfrom shutdown getsockopt getsockname "
    "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage alarm getitimer setitimer "
    "futex futex_waitv set_robust_list get_robust_list rseq set_tid_address membarrier sched_yield sched_getaffinity "
    "getpid getppid gettid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid getresuid getresgid "
    "getrlimit sysinfo uname getrandom getcpu arch_prctl exit exit_group restart_syscall "
)

_CLONE_THREAD = 0x10000
_HARMLESS_REQUESTS = (0x5421, 0x5450, 0x5451)
"""FIONBIO, FIONCLEX and FIOCLEX: whether a descriptor waits, and whether it outlives `exec`."""
_HARMLESS_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)
"""Copies of descriptors, their flags, and locks; not who gets their signals (SIGIO could kill anybody), nor leases."""
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF


@cache
def program() -> bytes:
    """The filter as the kernel reads it; empty where libseccomp or the binding is missing."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError, OSError):  # no Linux, or no libseccomp
        return b""
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in _ALLOWED.split():
        if name not in ("open", "openat") and _known(seccomp, name):
            rules.add_rule(seccomp.ALLOW, name)
    # Threads, but no processes; glibc falls back from clone3, whose flags a filter can't see, to clone.
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(seccomp.ALLOW, "prlimit64", seccomp.Arg(0, seccomp.EQ, 0))  # its own limits, nobody else's
    for command in _HARMLESS_COMMANDS:
        rules.add_rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    rules.add_rule(seccomp.ALLOW, "unlinkat", seccomp.Arg(2, seccomp.EQ, 0))  # files, not folders
    # A file opened for reading may be emptied by O_TRUNC, which older versions of Landlock don't see.
    emptying = os.O_TRUNC | os.O_RDWR | os.O_WRONLY
    for name, place in (("open", 1), ("openat", 2)):
        if _known(seccomp, name):
            rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(place, seccomp.MASKED_EQ, os.O_TRUNC, 0))
            for mode in (os.O_WRONLY, os.O_RDWR):
                rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(place, seccomp.MASKED_EQ, emptying, os.O_TRUNC | mode))
    # asyncio wakes itself through a pair of connected sockets; datagram sockets could be used to reach others.
    pair = seccomp.Arg(0, seccomp.EQ, _AF_UNIX), seccomp.Arg(1, seccomp.MASKED_EQ, _SOCK_TYPES, _SOCK_STREAM)
    rules.add_rule(seccomp.ALLOW, "socketpair", *pair)
    for request in _HARMLESS_REQUESTS:
        rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, request))
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _known(seccomp: object, name: str) -> bool:
    """Whether this machine's architecture has a system call."""
    try:
        return seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0  # type: ignore[attr-defined,no-any-return]
    except (ValueError, OSError):
        return False
