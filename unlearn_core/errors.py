"""The few exceptions that cross module borders."""


class BadInput(ValueError):
    """Input that a person can correct.

    `field` names what was wrong, `problem` says why, `fix` says what would be accepted.
    The interface and the command line show `str(error)` and nothing else.
    """

    def __init__(self, field: str, problem: str, fix: str):
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem} {fix}")

    def __reduce__(self):
        return type(self), (self.field, self.problem, self.fix)  # so that it comes back whole from another process


class Cancelled(Exception):
    """Raised by a progress callback when the person cancelled; carries no result."""


class Preempted(Exception):
    """Raised by a progress callback when more urgent work waits; the job is queued again."""
