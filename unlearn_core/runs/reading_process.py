"""The process that reads a person's own file, so that one that uses up the memory, hangs or kills a reader ends only this process.

Started by `runs.reading` as `python -m unlearn_core.runs.reading_process`. Requests come as lines of JSON on stdin, answers go as lines of
JSON to stdout; the file itself is read from its path, and what is large never leaves. It ends when stdin does, and after a while without work.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlearn_core.data import own
from unlearn_core.data.importing import Imported, Opened, Options
from unlearn_core.data.importing.source import amount, available, short
from unlearn_core.data.importing.summary import summarise
from unlearn_core.errors import BadInput

IDLE = 900.0  # seconds without a request after which what was read is let go
EVERY = 0.1  # seconds between two words of progress
SHARE = 0.75  # of the memory that is free
LEAST = 500_000_000  # bytes that reading may take in any case
MOST_SECONDS = 3600  # of processor time, whoever listens
CHECKED = 0.85  # share of the time that reading takes, before the dataset is made


class Reader:
    """Does what is asked; the file asked about last stays open, so that another choice does not read it again."""

    def __init__(self, say: Callable[[dict[str, Any]], None]):
        self.say, self.said, self.stage = say, 0.0, ""
        self.opened: tuple[list, Opened] | None = None
        self.found: tuple[Options, Imported] | None = None

    def answer(self, request: dict[str, Any]) -> Any:
        """`preview`: the columns of a table; `check`: a Summary; `keep`: Kept. Raises BadInput."""
        given = [request["path"], request["name"], request["token"]]
        if self.opened is None or self.opened[0] != given:
            self.opened = self.found = None
            self.opened = given, Opened(Path(request["path"]), request["name"])
        opened = self.opened[1]
        if request["do"] == "preview":
            return [asdict(column) for column in opened.preview(self.tell)]
        options = Options(**{name: tuple(value) if isinstance(value, list) else value for name, value in request["options"].items()})
        nameless = replace(options, title="")
        if self.found is None or self.found[0] != nameless:
            self.found = None
            self.found = nameless, opened.read(nameless, lambda words, share: self.tell(words, CHECKED * share))
        found = replace(self.found[1], title=short(options.title or self.found[1].title))
        if request["do"] == "check":
            self.tell("Dividing into splits", CHECKED)
            return asdict(summarise(found))
        self.tell("Keeping", CHECKED)
        return asdict(own.save(found))

    def tell(self, words: str, share: float) -> None:
        now, stage = time.monotonic(), "".join(sign for sign in words if not sign.isdigit())
        if now - self.said > EVERY or stage != self.stage:
            self.said, self.stage = now, stage
            self.say({"told": words, "share": share})


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever a library prints is no answer
        speaking = threading.Lock()  # readers may tell from threads of their own

        def say(message: dict[str, Any]) -> None:
            with speaking:
                out.write(json.dumps(message) + "\n")
                out.flush()

        requests: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(requests,), daemon=True).start()
        reader = Reader(say)
        while True:
            try:
                request = json.loads(requests.get(timeout=IDLE))
            except queue.Empty:
                return 0
            room = limit()
            try:
                say({"answer": reader.answer(request)})
            except BadInput as error:
                say({"bad": [error.field, error.problem, error.fix]})
            except OSError as error:
                problem = f"it cannot be read or kept ({error.strerror or error})."
                say({"bad": ["file", problem, "Check the path, who may read it, and the room on the disk."]})
            except MemoryError:
                problem = f"{short(request['name'])} needs more memory than the {amount(room)} that it may take here."
                say({"bad": ["file", problem, "Give a part of it, or close other programs."], "over": True})


def _listen(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # whoever asked is gone, and a reader cannot be interrupted


def limit() -> int:
    """Let this process take no more than a part of the memory that is free now, where the system (Linux) can hold it to that. Returns bytes."""
    room = max(LEAST, int(SHARE * available()))
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm", encoding="ascii") as sizes:
            now = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = now + room if hard == resource.RLIM_INFINITY else min(now + room, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an image of the memory would hold the data
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    return room


if __name__ == "__main__":
    sys.exit(main())
