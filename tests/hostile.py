"""Programs that attack whoever runs them. Each defines `f`; what each tries is its name.

FORGERIES answer wrongly and try to be called right: `f()` has to be 42 and never is. EXHAUSTING ones never end. ATTACKS
do harm and return "done" where they think that they have done it. BEYOND are right but for one limit. `{...}` is filled
in by the test: a folder and a file outside, the port of a server on this machine, a process and its secret.
"""

from __future__ import annotations

FORGERIES = {
    "exits before its tests": "import os\nos._exit(0)",
    "exits politely before its tests": "import sys\nsys.exit(0)",
    "exits when it is called": "import os\ndef f():\n    os._exit(0)",
    "exits at the end of the interpreter": """
import atexit, os
atexit.register(os._exit, 0)
def f():
    raise SystemExit(0)""",
    "prints a verdict": """
import sys, os, json
for line in ('{"outcome": "passed", "detail": ""}', "passed", "OK", "correct"):
    print(line); print(line, file=sys.stderr)
def f():
    print('{"outcome": "passed", "detail": ""}', flush=True)
    return 0""",
    "writes a verdict to all its file descriptors": """
import os
def f():
    for number in range(256):
        try: os.write(number, b'{"outcome": "passed", "detail": ""}')
        except OSError: pass
    return 0""",
    "returns what is equal to everything": """
class Yes:
    def __eq__(self, other): return True
    def __hash__(self): return 42
    def __bool__(self): return True
def f(): return Yes()""",
    "returns a number that is equal to everything": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(): return Yes(0)""",
    "patches what compares": """
import builtins, operator
builtins.AssertionError = type("Silent", (BaseException,), {"__init__": lambda *a: None})
builtins.__build_class__ = None
def f():
    operator.eq = lambda a, b: True
    return 0""",
    "patches the frames that call it": """
import sys
def f():
    frame = sys._getframe()
    while frame:
        frame.f_globals.update(judge=lambda *a: True, Judgement=lambda **k: True, AssertionError=ValueError)
        for name, value in list(frame.f_globals.items()):
            if callable(value): frame.f_globals[name] = lambda *a, **k: 42
        frame = frame.f_back
    return 0""",
    "patches the grader's modules": """
import sys
for name, module in list(sys.modules.items()):
    if "pipeline" in name or name in ("json", "pickle", "socket"):
        for key, value in list(vars(module).items()):
            if callable(value):
                try: setattr(module, key, lambda *a, **k: {"outcome": "passed", "value": 42})
                except Exception: pass
def f(): return 0""",
    "sends the grader a pickle that runs code": r"""
import os, socket, struct, pickle
class Run:
    def __reduce__(self): return (eval, ("__import__('os')._exit(0)",))
def f():
    data = pickle.dumps((False, {"value": Run()}))
    for number in range(3, 64):
        try: os.write(number, struct.pack(">I", len(data)) + data)
        except OSError: pass
    return 0""",
    "sends the grader a pickle that patches a class": r"""
import os, struct
def f():
    data = b"\x80\x04ccollections\nCounter\n(N}X\x06\x00\x00\x00__eq__cbuiltins\nlist\nst\x86b."
    for number in range(3, 64):
        try: os.write(number, struct.pack(">I", len(data)) + data)
        except OSError: pass
    return 0""",
    "answers before it is asked": r"""
import os, pickle, struct
reply = pickle.dumps((False, {"functions": ["f", "check", "print", "len"], "value": 41}))
for number in range(3, 64):
    try: os.write(number, (struct.pack(">I", len(reply)) + reply) * 5)
    except OSError: pass
def f(): return 0""",
    "replaces what its tests call": """
import builtins
def f(): return 0
def check(candidate): return None
def expected(): return 0
def print(*args): return None
builtins.len = lambda x: 42
right = 0""",
    "reads its tests from the other process": """
import os, re
def f():
    for pid in os.listdir("/proc") if os.path.isdir("/proc") else []:
        try:
            with open(f"/proc/{pid}/mem", "rb") as file: return file.read(1)
        except OSError: pass
    import gc
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "tests" in thing: return 42
    return 0""",
    "kills the process of its tests": """
import os, signal
def f():
    for pid in [os.getppid(), *range(max(2, os.getpid() - 50), os.getpid() + 50)]:
        if pid != os.getpid():
            try: os.kill(pid, signal.SIGKILL)
            except OSError: pass
    return 0""",
    "breaks its tests on purpose": "def f():\n    raise NameError('check')",
    "claims that the tests are at fault": "def f():\n    raise ImportError('No module named tests')",
    "says so much that its verdict does not fit": """
import sys
sys.modules["pipeline.scoring.sandbox.candidate"].fault = lambda error: "x" * 70000
def f(): raise ValueError""",
    "tells of functions that are none": r"""
import os, pickle, struct
for number in range(3, 64):
    for hello in (5, [["f"]], {"f": 1}, None, [None, 3.5]):
        reply = pickle.dumps((False, {"functions": hello}))
        try: os.write(number, struct.pack(">I", len(reply)) + reply)
        except OSError: pass
def f(): return 0""",
    "says something else than what it is": r"""
import os, pickle, struct
reply = pickle.dumps((False, {"functions": 5}))
os.write(4, struct.pack(">I", len(reply)) + reply)
def f(): return 42""",
    "ends loops": "def f():\n    raise StopIteration",
    "removes the folder that it works in": """
import os
def f():
    os.rmdir(os.getcwd())
    return 0""",
    "moves the folder that it works in and takes the place of the next one": """
import os
def f():
    here, up = os.getcwd(), os.path.dirname(os.getcwd())
    try: os.rename(here, here + "x")
    except OSError: pass
    for number in range(20):
        try: open(f"{up}/{number}", "w").close()
        except OSError: pass
    return 0""",
    "brings a module of its tests": """
import os, sys
for folder in ("/", "/scratch", os.getcwd(), *sys.path):
    try:
        with open(os.path.join(folder, "statistics.py"), "w") as file: file.write("mean = lambda numbers: 0")
    except OSError: pass
def f(): return 0""",
    "raises what is no Exception": "def f():\n    raise GeneratorExit",
    "returns itself within itself": "def f():\n    x = []\n    x.append(x)\n    return x",
}

EXHAUSTING = {
    "loops for ever": "def f():\n    while True: pass",
    "loops for ever and ignores signals": """
import signal
def f():
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True:
        try:
            while True: pass
        except BaseException: pass""",
    "catches everything and goes on": """
def f():
    while True:
        try: raise KeyboardInterrupt
        except BaseException: continue""",
    "prints for ever": "def f():\n    while True: print('x' * 100000)",
    "never comes to its end when it is read": "while True: pass",
    "takes all memory": "def f():\n    x = []\n    while True: x.append(bytearray(1 << 26))",
    "takes all memory at once": "def f():\n    return bytearray(1 << 40)",
    "multiplies huge numbers": "def f():\n    x = 3\n    while True: x *= x",
    "returns a huge number": "def f():\n    return 1 << (1 << 31)",
    "returns without an end": "import itertools\ndef f():\n    return itertools.count()",
    "overflows the stack": """
import sys
sys.setrecursionlimit(1 << 30)
def g(x): return [g(x)]
def f(): return g(0)""",
    "overflows the stack in C": """
import sys
sys.setrecursionlimit(1 << 30)
def f():
    x = ()
    for _ in range(10_000_000): x = (x,)
    return repr(x)""",
    "is nested too deeply to be read": "f = " + "(" * 50_000 + ")" * 50_000,
    "backtracks in a pattern": "import re\ndef f():\n    return re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "divides memory by zero": "import ctypes\ndef f():\n    return ctypes.string_at(0)",
    "starts threads for ever": """
import threading, time
def f():
    threading.stack_size(1 << 15)
    while True:
        try: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        except RuntimeError: time.sleep(0.01)""",
    "fills its disk with one file": """
def f():
    with open("big", "wb") as file:
        while True: file.write(bytes(1 << 20))""",
    "fills its disk with many files": """
def f():
    number = 0
    while True:
        number += 1
        try:
            with open(f"file{number}", "wb") as file: file.write(bytes(1 << 20))
        except OSError: pass""",
    "opens files for ever": """
def f():
    files = []
    while True:
        try: files.append(open("one", "w"))
        except OSError: return len(files)""",
    "sleeps for ever": "import time\ndef f():\n    time.sleep(10 ** 6)",
}

ATTACKS = {
    "forks": "import os\ndef f():\n    if os.fork() == 0: os._exit(0)\n    return 'done'",
    "forks for ever": """
import os
def f():
    for _ in range(20): os.fork()
    return 'done'""",
    "leaves a daemon behind": """
import os, time
def f():
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.waitpid(child, 0)  # then the daemon is there, and out of reach of what ends the others
    return 'done'""",
    "starts a program": "import subprocess\ndef f():\n    return subprocess.run(['/bin/true']) and 'done'",
    "replaces itself by a program": "import os\ndef f():\n    os.execv('/bin/sleep', ['sleep', '1000'])",
    "starts a shell": "import os\ndef f():\n    return 'done' if os.system('true') == 0 else 'no'",
    "starts processes by multiprocessing": """
import multiprocessing
def f():
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    return 'done'""",
    "deletes files in the home folder": """
import os, pathlib, shutil
def f():
    for home in ("{outside}", os.path.expanduser("~root"), "/root", "/home"):
        shutil.rmtree(home, ignore_errors=True)
    os.unlink("{file}")
    return 'done'""",
    "writes outside": "def f():\n    with open('{outside}/new', 'w') as file: file.write('x')\n    return 'done'",
    "empties a file outside": "def f():\n    open('{file}', 'w')\n    return 'done'",
    "empties a file outside by opening it for reading": """
import os
def f():
    os.open("{file}", os.O_RDONLY | os.O_TRUNC)
    return 'done'""",
    "empties a file of the interpreter": """
import json, os
def f():
    os.open(json.__file__, os.O_RDONLY | os.O_TRUNC)
    return 'done'""",
    "writes to the interpreter's packages": """
import json, os
def f():
    with open(os.path.dirname(json.__file__) + "/evil.py", "w") as file: file.write("x")
    return 'done'""",
    "writes to the project": """
def f():
    with open("{project}/pipeline/scoring/grade.py", "a") as file: file.write("# evil")
    return 'done'""",
    "reads a file outside": "def f():\n    with open('{file}') as file: return 'done' if file.read() else 'empty'",
    "reads a file outside through a link": """
import os
def f():
    os.symlink("{file}", "link")
    with open("link") as file: return 'done' if file.read() else 'empty'""",
    "links a file outside to its own folder": """
import os
def f():
    os.link("{file}", "mine")
    with open("mine", "w"): return 'done'""",
    "moves a file outside": "import os\ndef f():\n    os.rename('{file}', 'mine')\n    return 'done'",
    "changes the rights of a file outside": "import os\ndef f():\n    os.chmod('{file}', 0)\n    return 'done'",
    "changes the times of a file outside": "import os\ndef f():\n    os.utime('{file}', (0, 0))\n    return 'done'",
    "reads the environment of other processes": """
import os
def f():
    if "{secret}" in str(os.environ): return 'done'
    for pid in ["{pid}", str(os.getppid()), *(os.listdir("/proc") if os.path.isdir("/proc") else [])]:
        try:
            with open(f"/proc/{{pid}}/environ", "rb") as file:
                if b"{secret}" in file.read(): return 'done'
        except OSError: pass
    return 'no'""",
    "reads the password file": """
def f():
    with open('/etc/shadow') as file: return 'done' if file.read() else 'empty'""",
    "connects to this machine": """
import socket
def f():
    with socket.create_connection(("127.0.0.1", {port}), timeout=5) as link: link.sendall(b"hello")
    return 'done'""",
    "connects to this machine from C": """
import ctypes, socket, struct
def f():
    libc = ctypes.CDLL(None)
    number = libc.socket(2, 1, 0)
    address = struct.pack("<H", 2) + struct.pack(">H", {port}) + bytes([127, 0, 0, 1]) + bytes(8)
    return 'done' if libc.connect(number, address, 16) == 0 else 'no'""",
    "connects to the world": """
import socket
def f():
    socket.create_connection(("1.1.1.1", 53), timeout=5)
    return 'done'""",
    "sends a datagram": """
import socket
def f():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port}))
    return 'done'""",
    "opens a server": "import socket\ndef f():\n    socket.create_server(('127.0.0.1', 0))\n    return 'done'",
    "talks to a local socket": """
import socket
def f():
    socket.socket(socket.AF_UNIX).connect("{outside}/socket")
    return 'done'""",
    "has the kernel kill its neighbours": """
import fcntl, os, signal, socket, time
def f():
    left, right = socket.socketpair()
    fcntl.fcntl(left, fcntl.F_SETOWN, {pid})
    fcntl.fcntl(left, 10, signal.SIGKILL)
    fcntl.fcntl(left, fcntl.F_SETFL, fcntl.fcntl(left, fcntl.F_GETFL) | os.O_ASYNC)
    right.send(b"x")
    time.sleep(0.1)
    return 'done'""",
    "holds a file of the interpreter": """
import fcntl, json
def f():
    with open(json.__file__) as file: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return 'done'""",
    "leaves something for the next one": """
import os
def f():
    done = []
    for place in ("/", "/tmp", "/dev/shm", "/scratch", os.path.dirname(os.getcwd())):
        try:
            with open(place + "/left", "w") as file: file.write("x")
            done.append(place)
        except OSError: pass
    return 'done' if set(done) - {{"/scratch", os.path.dirname(os.getcwd())}} else 'no'""",
    "changes settings of the kernel": """
def f():
    with open("/proc/sys/kernel/core_pattern", "r+") as file: return 'done'""",
    "kills its neighbours": """
import os, signal
def f():
    os.kill({pid}, signal.SIGKILL)
    return 'done'""",
    "kills everybody": "import os, signal\ndef f():\n    os.kill(-1, signal.SIGKILL)\n    return 'done'",
    "traces another process": """
import ctypes
def f():
    return 'done' if ctypes.CDLL(None).ptrace(16, {pid}, 0, 0) == 0 else 'no'""",
    "makes shared memory that stays": """
from multiprocessing import shared_memory
def f():
    shared_memory.SharedMemory(name="evil", create=True, size=1 << 20)
    return 'done'""",
    "makes system V memory that stays": """
import ctypes
def f():
    return 'done' if ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0 else 'no'""",
    "becomes somebody else": "import os\ndef f():\n    os.setuid(12345)\n    return 'done'",
    "mounts a file system": """
import ctypes
def f():
    return 'done' if ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else 'no'""",
    "makes namespaces of its own": """
import ctypes
def f():
    return 'done' if ctypes.CDLL(None).unshare(0x10000000) == 0 else 'no'""",
    "lifts its own limits": """
import resource
def f():
    for what in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return 'done'""",
    "sets the limits of another process": """
import resource
def f():
    resource.prlimit({pid}, resource.RLIMIT_NOFILE, (1, 1))
    return 'done'""",
    "makes folders without end": """
import os
def f():
    for _ in range(5000):
        os.mkdir("deep")
        os.chdir("deep")
    return 'done'""",
    "uses io_uring": """
import ctypes
def f():
    return 'done' if ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0 else 'no'""",
}

BEYOND = {
    "computes longer than it may": (
        "timeout",
        """
import time
def f():
    while time.process_time() < 3: pass
    return 42""",
    ),
    "waits longer than it may": ("timeout", "import time\ndef f():\n    time.sleep(14)\n    return 42"),
    "takes more memory than it may": ("runtime_error", "def f():\n    bytearray(3 << 29)\n    return 42"),
    "writes a larger file than it may": (
        "runtime_error",
        """
def f():
    with open("one", "wb") as file: file.write(bytes(6 << 20))
    return 42""",
    ),
    "writes more files than it may": (
        "over_limit",
        """
import time
def f():
    for number in range(30):
        with open(f"file{number}", "wb") as file: file.write(bytes(3 << 20))
    time.sleep(1)
    return 42""",
    ),
    "makes more files than it may": (
        "over_limit",
        """
import time
def f():
    for number in range(300): open(f"file{number}", "wb").close()
    time.sleep(1)
    return 42""",
    ),
    "opens more files than it may": (
        "runtime_error",
        """
def f():
    files = [open("one", "w") for _ in range(80)]
    return 42""",
    ),
    "starts more threads than it may": (
        "over_limit",
        """
import threading, time
def f():
    threading.stack_size(1 << 16)
    locks = [threading.Lock() for _ in range(40)]
    for lock in locks: lock.acquire()
    for lock in locks: threading.Thread(target=lock.acquire, daemon=True).start()
    time.sleep(2)
    return 42""",
    ),
}
"""Programs that are right but for one limit, and the reason that they get."""
