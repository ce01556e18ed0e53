"""Runs store operations in forked children; at the n-th file-system call they are killed, or the call fails.

One JSON request a line on stdin, one JSON answer a line on stdout. A process of its own, without
threads, so that forking it is safe and costs milliseconds.

A request's ``mode``:

- ``kill``: SIGKILL. Only calls that change something count.
- ``error``: the call fails with the number in ``error``. Calls that only look count too. With ``done`` it does
  its work all the same, as over NFS, where the answer of a server that did it may be lost.
- ``silly``: nothing fails, but whatever is removed or renamed over stays as ``.nfs...``, as over NFS.

A call that writes counts twice: stopped before it, and stopped with half of its bytes written.
"""

import json
import os
import pathlib
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.refs import Ref
from cxr_core.store import Store, leases, syncing

CALLS = ("open", "write", "pwrite", "ftruncate", "fsync", "fchmod", "utime", "mkdir", "rmdir")
NAMES = ("replace", "rename", "link", "symlink", "unlink")
LOOKS = ("read", "readv", "stat", "lstat", "fstat", "statvfs", "listdir", "scandir", "close")


class Once:
    """Lets the renewer of a lease renew it once."""

    waits = 0

    def wait(self, seconds: float) -> bool:
        self.waits += 1
        return self.waits > 1


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            run(request, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        code = None if killed else os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps({"killed": killed, "code": code, "told": told}) + "\n")
        sys.stdout.flush()


def run(request: dict[str, Any], writer: int) -> None:
    """Never returns. Tells which points there are when it comes through alive, and what was raised on purpose."""
    code, tell = 1, os.write
    try:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one thread, so that the n-th call is always the same
        passed = silly() if request["mode"] == "silly" else inject(**{name: request[name] for name in INJECTED})
        operate(request["operation"], pathlib.Path(request["root"]), request["arguments"])
        tell(writer, json.dumps(passed).encode())
        code = 0
    except CxrError as error:
        raised = [kind.__name__ for kind in type(error).__mro__]
        tell(writer, json.dumps({"raised": raised, "message": str(error)}).encode())
        code = 3
    except BaseException as error:
        tell(writer, repr(error).encode())
    finally:
        os._exit(code)


INJECTED = ("point", "mode", "error", "done")


def inject(point: int, mode: str, error: int, done: bool) -> list[str]:
    """The names of the calls that were passed, which grows."""
    passed: list[str] = []
    guard = threading.Lock()  # verify reads in threads

    def step(name: str) -> bool:
        with guard:
            passed.append(name)
            return len(passed) == point

    def stop(arguments: tuple[Any, ...]) -> None:
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(error, os.strerror(error), *(str(name) for name in arguments[:1] if not isinstance(name, int)))

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            looks = name == "open" and not arguments[1] & os.O_CREAT
            if mode == "kill" and looks:
                return real(*arguments, **named)
            if step("look" if looks else name):
                if (done and name in NAMES) or name == "close":
                    real(*arguments, **named)
                stop(arguments)
            if name == "write" and step(name):
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                stop(arguments)
            return real(*arguments, **named)

        return call

    for name in (*CALLS, *NAMES, *(LOOKS if mode == "error" else ())):
        setattr(os, name, wrap(name, getattr(os, name)))
    syncing.syncfs = wrap("syncfs", syncing.syncfs)
    return passed


def silly() -> list[str]:
    """From now on what is removed or renamed over stays beside it, as NFS leaves it of a file that is open."""
    passed: list[str] = []
    link, unlink, replace = os.link, os.unlink, os.replace

    def keep(path: Any) -> None:
        if os.path.isfile(path):  # noqa: PTH113
            link(path, os.path.join(os.path.dirname(path), f".nfs{secrets.token_hex(12)}"))  # noqa: PTH118, PTH120
            passed.append(str(path))

    def unlinking(path: Any, **named: Any) -> None:
        if not named:
            keep(path)
        unlink(path, **named)

    def replacing(source: Any, target: Any) -> None:
        keep(target)
        replace(source, target)

    os.unlink, os.replace = unlinking, replacing  # type: ignore[assignment]
    return passed


def operate(operation: str, root: pathlib.Path, arguments: list[Any]) -> None:
    store = Store.open(root)
    if operation == "put":
        store.put(pathlib.Path(arguments[0]), "thing")
    elif operation == "write_action":
        store.write_action(arguments[0], arguments[1].encode())
    elif operation == "write_run":
        store.write_run(arguments[0], arguments[1])
    elif operation == "pin":
        store.pin(arguments[0], [Ref.model_validate(ref) for ref in arguments[1]])
    elif operation == "gc":
        store.gc(dry_run=False)
    elif operation == "verify":
        store.verify()
    elif operation == "migrate":
        pass  # opening it is all
    elif operation == "lease":
        with store.lease("crash"):
            store.put_bytes(b"leased", "leased")
            store.read_action(arguments[0])
            leases._renew(leases._mine[store.root][0].descriptor, Once())  # type: ignore[arg-type]
            store.pin("releases/leased", [store.put_bytes(b"leased, too", "leased")])
    elif operation == "open":
        store.put_bytes(b"first", "first")
    elif operation == "work":
        store.work(arguments[0])
        store.drop_work(arguments[0])
    else:
        raise ValueError(operation)


if __name__ == "__main__":
    main()
