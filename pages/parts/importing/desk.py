"""What the open dialog remembers: the file, what was asked about it, and the answers, so that nothing is read twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput
from unlearn_core.runs.reading import Reading

GRACE = 0.4  # seconds that a page waits for an answer before it shows progress


@dataclass(frozen=True)
class Given:
    """A file or folder to read. token: differs for each content, as far as that is known without reading."""

    path: Path
    name: str
    token: str

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def ending(self) -> str:
        return Path(self.name).suffix.lower()


Question = tuple[str, str, Options | None]  # what to do, with which content, and how


@dataclass
class Desk:
    """problem: why the last file could not be taken. turn: counts the files. path: the last one typed.

    asked: what is under way; stopped: what the person cancelled; keeping: what the person decided to keep;
    told: why that failed the last time.
    """

    reading: Reading = field(default_factory=Reading)
    given: Given | None = None
    problem: str = ""
    turn: int = 0
    path: str = ""
    asked: Question | None = None
    stopped: Question | None = None
    keeping: Options | None = None
    told: str = ""
    answers: dict[str, tuple[Question, Any]] = field(default_factory=dict)

    def take(self, given: Given) -> None:
        """Work on another file."""
        self.given, self.problem = given, ""

    def drop(self) -> None:
        """Work on no file; what was read of it is let go."""
        self.reading.close()
        self.given, self.asked, self.stopped, self.keeping, self.told, self.answers = None, None, None, None, "", {}
        self.turn += 1

    def question(self, do: str, options: Options | None) -> Question:
        return do, self.given.token, options

    def answer(self, do: str, options: Options | None = None, patience: float = GRACE) -> Any:
        """What the file's reader answers; None while it reads, or after the person cancelled it. Raises BadInput, again where it did so."""
        question = self.question(do, options)
        if do in self.answers and self.answers[do][0] == question:
            found = self.answers[do][1]
        elif self.stopped == question:
            return None
        else:
            if self.asked != question:
                self.reading.ask(do, self.given.path, self.given.name, self.given.token, options)
                self.asked = question
            found = self._found(patience)
            if found is None:
                return None
            self.asked = None
            self.answers[do] = question, found
        if isinstance(found, BadInput):
            raise found
        return found

    def _found(self, patience: float) -> Any:
        try:
            return self.reading.answer(patience)
        except BadInput as error:
            return error

    def ended(self) -> bool:
        """Whether nothing is under way any more."""
        if self.asked is None:
            return True
        do, _, options = self.asked
        try:
            return self.answer(do, options, patience=0.0) is not None
        except BadInput:
            return True

    def stop(self) -> None:
        """Cancel what is under way; what was answered in the meantime counts, since it may be kept already."""
        if self.ended():
            return
        self.reading.cancel()
        self.stopped, self.asked, self.keeping = self.asked, None, None

    def go_on(self) -> None:
        """Ask again what was cancelled."""
        self.stopped = None

    def keep(self, options: Options) -> None:
        """Decide to keep the file, read with these options."""
        self.keeping = options
        self.stopped, self.told = None, ""
        self.answers.pop("keep", None)
