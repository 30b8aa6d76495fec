"""Python processes that begin with the libraries already loaded.

Loading TensorFlow takes longer than most of what a test wants of a process. So one process, the
nursery, loads the libraries, and for commands the rooms of keras_distill, and runs nothing of them.
Each program is a fork of it: a process with an id, signals, an exit code and an interpreter's end
of its own. The commands themselves are loaded after the fork.

What is read from the environment while a module is loaded, the limits of resources, and the seed
of hashes are the nursery's. Where these matter, or which modules a program loads, or what happens
meanwhile, start it with `subprocess`.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import types

from quick_datasets import begin_sooner

# With what they load; all others are loaded after the fork. gRPC starts threads. PACKAGE.* are all
# modules of a package.
LIGHT_LIBRARIES = ("absl.flags", "filelock", "numpy", "keras_distill.settings.*")
LIBRARIES = (
    "absl.flags",
    "filelock",
    "keras",
    "matplotlib.pyplot",
    "numpy",
    "PIL.Image",
    "rich.console",
    "rich.progress",
    "scann",
    "scipy.stats",
    "tensorflow",
)
ROOMS = tuple(
    f"keras_distill.{room}.*"
    for room in (
        "data",
        "embedding",
        "evaluation",
        "losses",
        "methods",
        "models",
        "recipes",
        "runs",
        "settings",
        "teachers",
        "training",
    )
)
_LARGEST_REQUEST = 2**17


class Nursery:
    """Starts warm processes; loads the libraries when the first of them is started.

    Args:
        libraries: Names of modules, and of packages with `.*`; what is not installed is left out.
        environment: Variables for the nursery alone, such as `PYTHONPATH`.
    """

    def __init__(self, libraries=(*LIBRARIES, *ROOMS), **environment):
        self._libraries, self._environment = libraries, environment
        self._process = None

    def popen(self, arguments, **options):
        """Starts `[sys.executable, "-m", module, ...]` or `[sys.executable, "-c", code, ...]`.

        Args:
            arguments: The command line.
            **options: As of `subprocess.Popen`, but for `preexec_fn` and its kind.

        Returns:
            The process, a `subprocess.Popen`.
        """
        if sys.platform != "linux":  # where the libraries do not outlive a fork
            return subprocess.Popen(arguments, **options)
        if self._process is None:
            self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno()), *self._libraries],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | self._environment,
                )
        return _WarmProcess(arguments, nursery=self._socket, **options)

    def run(self, arguments, **options):
        """Runs such a command line to its end, as `subprocess.run` with `capture_output` does."""
        pipe = subprocess.PIPE
        with self.popen(arguments, stdout=pipe, stderr=pipe, text=True, **options) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def close(self):
        """Ends the nursery, and what still runs of its processes."""
        if self._process is not None:
            self._socket.close()
            self._process.wait()


class _WarmProcess(subprocess.Popen):
    """A process whose parent is the nursery, which tells how it ended."""

    def __init__(self, arguments, *, nursery, **options):
        self._nursery = nursery
        super().__init__(arguments, **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        _, _, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more = more
        start_new_session, process_group = more[5:7]
        assert args[0] == sys.executable
        assert args[1] in ("-m", "-c")
        assert not any((preexec_fn, pass_fds, shell))
        request = {
            "arguments": list(map(os.fspath, args)),
            "cwd": os.fspath(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
            "start_new_session": start_new_session,
            "process_group": process_group,
        }
        self._status, theirs = socket.socketpair()
        with theirs:
            standard = (p2cread, c2pwrite, errwrite)
            files = [own if file == -1 else file for own, file in enumerate(standard)]
            message = json.dumps(request).encode()
            assert len(message) <= _LARGEST_REQUEST
            socket.send_fds(self._nursery, [message], [*files, theirs.fileno()])
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        self._child_created = True
        self.pid = int(self._status.recv(16))

    def _ended(self, pid, flags):
        """What `os.waitpid` would say of a child."""
        ready, _, _ = select.select([self._status], [], [], 0 if flags & os.WNOHANG else None)
        if not ready:
            return 0, 0
        with self._status:
            return pid, int(self._status.recv(16))

    def _internal_poll(self, _deadstate=None):
        return super()._internal_poll(_deadstate, _waitpid=self._ended)

    def _try_wait(self, wait_flags):
        return self._ended(self.pid, wait_flags)


def _serve(requests):
    """Forks for each request, until there is no one left to make any.

    Returns:
        The request, in the fork.
    """
    running = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            if number != requests.fileno():
                pid, status = running.pop(number)
                poll.unregister(number)
                os.close(number)
                with status, contextlib.suppress(BrokenPipeError):
                    status.send(str(os.waitpid(pid, 0)[1]).encode())
                continue
            message, files, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 4)
            if not message:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                sys.exit()
            *standard, status = files
            if (pid := os.fork()) == 0:
                request = json.loads(message)
                for own, file in enumerate(standard):
                    os.dup2(file, own)
                if request.pop("start_new_session"):
                    os.setsid()
                if (group := request.pop("process_group")) >= 0:
                    os.setpgid(0, group)
                requests.close()
                os.write(status, str(os.getpid()).encode())
                for file in (*files, *running):
                    os.close(file)
                for _, other in running.values():
                    other.close()
                return request
            for file in standard:
                os.close(file)
            status = socket.socket(fileno=status)
            number = os.pidfd_open(pid)
            running[number] = pid, status
            poll.register(number, select.POLLIN)


def _load(library):
    """Loads a module, or all modules of a package."""
    name = library.removesuffix(".*")
    with contextlib.suppress(ImportError):
        module = importlib.import_module(name)
        if name != library:
            for found in pkgutil.walk_packages(module.__path__, f"{name}."):
                _load(found.name)


def _become(arguments, cwd, environment):
    """Makes of this fork what the command line would be, and runs it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.modules["numpy"].random.seed()  # Python's own generator is seeded in every fork
    sys.orig_argv = arguments
    kind, program = arguments[1:3]
    sys.argv = [kind, *arguments[3:]]
    sys.path[0] = cwd if kind == "-m" else ""
    if "keras_distill" in sys.modules:
        importlib.reload(sys.modules["keras_distill"])  # looks at the command line
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    sys.path[0] = ""  # not this folder
    for library in sys.argv[2:]:
        _load(library)
    begin_sooner()
    gc.collect()
    gc.freeze()
    _become(**_serve(socket.socket(fileno=int(sys.argv[1]))))
