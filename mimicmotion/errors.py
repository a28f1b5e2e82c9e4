"""Every error the project raises on purpose.

::

    MimicMotionError
    ├── ConfigError      a configuration that cannot be used; lists all its problems
    ├── InputError       a file, folder or argument of the user that cannot be used
    │   └── MissingSourceError    a source that is not there, or cannot be reached from this machine
    ├── WeightsError     a weight file that is missing, altered or of another shape
    ├── DataError        a dataset that breaks its contract: schema, key, manifest
    │   └── DamagedError     something published that is not what was published: made again, it is right
    ├── StageError       a stage that had to stop; names the item it stopped at
    │   ├── MachineError by a fault of a machine, disk or network, so that trying again may help
    │   └── DiskFullError    by a full disk: somebody has to make room first
    └── RejectedItem     one item that cannot be used; the stage records it and goes on

A message says which thing, what it got, what is allowed, and what to do.
"""

import errno
from collections.abc import Sequence

from mimicmotion.redaction import redacted as redacted
from mimicmotion.redaction import shown_lines

AWAY = frozenset(
    (
        *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNREFUSED),
        *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EMFILE, errno.ENFILE),
    )
)
"""Numbers of an OSError that say that a network or a machine is not there now: trying again may help."""


class MimicMotionError(Exception):
    """Base of all errors of this project; its text is meant for the user, without a traceback.

    Args:
        lines: of the message; each is shown as one line without secrets, whatever names it holds.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        return shown_lines(self.args)


class ConfigError(MimicMotionError):
    """A configuration that cannot be used.

    Args:
        problems: one sentence each, with file, field, what it got and what is allowed.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class InputError(MimicMotionError):
    """A file, folder or argument of the user that cannot be used."""


class MissingSourceError(InputError):
    """A source that is not there, or cannot be reached from this machine. A malformed one is neither."""


class WeightsError(MimicMotionError):
    """A weight file that is missing, altered or of another shape."""


class DataError(MimicMotionError):
    """A dataset that breaks its contract: schema, key, manifest."""


class DamagedError(DataError):
    """Something published that is not what was published, so that making it again helps."""


class StageError(MimicMotionError):
    """A stage that had to stop; names the item it stopped at."""


class MachineError(StageError):
    """A stage that had to stop by a fault of a machine, disk or network: trying again may help."""


class DiskFullError(StageError):
    """A stage that had to stop because a disk is full: somebody has to make room before it can go on."""


class RejectedItem(MimicMotionError):  # noqa: N818 - it is an outcome, not a fault
    """One item that cannot be used. The stage keeps it as a row with its reason and goes on.

    Args:
        code: stable snake_case reason, e.g. ``no_video_stream``; counted in tables.
        sentence: what was found in this item, for a person.
    """

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        # It is stored and shown, whatever bytes the name of a file holds.
        self.sentence = shown_lines([sentence])
        super().__init__(f"{code}: {self.sentence}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.code, self.sentence)


_WRONG_EACH_TIME = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def is_machine_fault(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is of a disk or network: trying again may help.

    A name or right that is wrong is so each time.
    """
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, _WRONG_EACH_TIME):
            return True
        error = error.__cause__
    return False
