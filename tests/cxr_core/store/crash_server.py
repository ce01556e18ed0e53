"""Runs store operations in forked children and kills them with SIGKILL at the n-th file-system call.

One JSON request a line on stdin, one JSON answer a line on stdout. A process of its own, without
threads, so that forking it is safe and costs milliseconds.

A call that writes counts twice: killed before it, and killed with half of its bytes written.
"""

import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

from cxr_core.store import Store, leases, syncing

CALLS = ("open", "write", "pwrite", "ftruncate", "fsync", "fchmod", "utime", "mkdir", "rmdir")
NAMES = ("replace", "rename", "link", "symlink", "unlink")


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
    """Never returns. Tells the number of points there are when it comes through alive."""
    code = 1
    try:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one thread, so that the n-th call is always the same
        count = inject(request["point"])
        operate(request["operation"], pathlib.Path(request["root"]), request["arguments"])
        os.write(writer, str(count()).encode())
        code = 0
    except BaseException as error:
        os.write(writer, repr(error).encode())
    finally:
        os._exit(code)


def inject(point: int) -> Callable[[], int]:
    passed = 0

    def step() -> bool:
        nonlocal passed
        passed += 1
        return passed == point

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **named)
            if step():
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "write" and step():
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in (*CALLS, *NAMES):
        setattr(os, name, wrap(name, getattr(os, name)))
    syncing.syncfs = wrap("syncfs", syncing.syncfs)
    return lambda: passed


def operate(operation: str, root: pathlib.Path, arguments: list[Any]) -> None:
    store = Store.open(root)
    if operation == "put":
        store.put(pathlib.Path(arguments[0]), "thing")
    elif operation == "write_action":
        store.write_action(arguments[0], arguments[1].encode())
    elif operation == "write_run":
        store.write_run(arguments[0], arguments[1])
    elif operation == "pin":
        store.pin(arguments[0], list(store.pins()["source"]))
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
