"""Pushes and pulls in forked children and kills them with SIGKILL at the n-th step.

One JSON request a line on stdin, one JSON answer a line on stdout. A step is a call that changes a file, and, before it
is sent and once it is answered, each request to a bucket. A process of its own, without threads, so that forking it is
safe and costs milliseconds.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import s3fs

from cxr_core.mirror import Mirror, pull, push
from cxr_core.store import Store

CALLS = ("open", "write", "fsync", "fchmod", "utime", "mkdir", "replace", "unlink")


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
        sys.stdout.write(json.dumps({"killed": killed, "told": told}) + "\n")
        sys.stdout.flush()


def run(request: dict[str, Any], writer: int) -> None:
    """Never returns. Tells the number of steps there are when it comes through alive."""
    write = os.write
    try:
        passed = inject(request["point"])
        action = {"push": push, "pull": pull}[request["action"]]
        action(Store.open(Path(request["root"])), Mirror.at(request["url"]), jobs=request["jobs"])
        write(writer, str(passed()).encode())
    except BaseException as error:
        write(writer, repr(error).encode())
    finally:
        os._exit(0)


def inject(point: int) -> Callable[[], int]:
    steps, last = count(1), [0]

    def step() -> None:
        last[0] = next(steps)
        if last[0] == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name != "open" or arguments[1] & os.O_CREAT:
                step()
            if name == "write":  # and once more with a half of it written
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                step()
                return real(arguments[0], arguments[1][len(arguments[1]) // 2 :]) + len(arguments[1]) // 2
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))
    asked = s3fs.S3FileSystem._call_s3

    async def ask(self: Any, *arguments: Any, **named: Any) -> Any:
        step()
        answer = await asked(self, *arguments, **named)
        step()
        return answer

    s3fs.S3FileSystem._call_s3 = ask
    return lambda: last[0]


if __name__ == "__main__":
    main()
