"""Text that may be shown and kept: without the secrets of addresses, and without what steers a terminal."""

import logging
import re
from collections.abc import Iterable
from pathlib import PurePath
from types import TracebackType
from typing import Any

HIDDEN = "***"

_SHOWN_OPTIONS = {
    "endpoint_override", "scheme", "region", "allow_bucket_creation", "allow_bucket_deletion",
    "allow_delayed_open", "connect_timeout", "request_timeout", "sslmode", "workflowtype",
}  # fmt: skip
"""Options of addresses that hold no secret. Services give theirs ever new names, so all others are hidden."""
_SECRET_NAME = (
    r"(?:token|secret|passw\w*|passphrase|pwd|credentials?|authorization|(?:api|access|account|private|secret|"
    r"shared|storage|encryption)[_-]?key|signature)"
)
_SECRET_WORD = re.compile(rf"(?i){_SECRET_NAME}|(?:^|[_-])(?:key|pat|pass|creds?|auth|sig|cookie)(?:$|[_-])")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*://)"
    # user:password@, where the password may hold any sign, and is no port
    r"(?P<user>[^\s/?#@\[]*:(?!\d*(?:[/?#\s'\",;)\]]|$))[^\n]*?@(?:[^\s?#]*@)?"
    # user@, and digits that may be a port or begin a password
    r"|[^\s?#\[]*:\d+/[^\s?#]*@|[^\s/?#]*@)?"
    r"(?P<place>[^\s?#]*)(?P<options>[?#]\S*)?"
)
_ASSIGNED = re.compile(
    rf"(?i)(?P<name>\b[\w-]*(?<!unexpected ){_SECRET_NAME}|\b\w*sess(?:ion)?_?id|(?<![\w-])(?:sig|pass))"
    r"(?P<quote>['\"]?\s*[=:]\s*)(?!\s|/)(?:(?:basic|bearer)\s+)?(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&)\]}]+)"
)
_COOKIES = re.compile(r"(?i)\b((?:set-)?cookie['\"]?\s*:\s*)[^\n]+")
_COMMAND = re.compile(
    # An option with its value, as people copy a command line; words after it belong to a sentence.
    rf"(?i)(?<!\S)(--[\w-]*(?:{_SECRET_NAME}|pass)\s+(?!-|(?:or|and|is|to|of|with|for|by|in)\b)|(?:-u|--user)[\s=]+(?=\S+:))"
    r"(?:\"[^\"\n]*\"|'[^'\n]*'|\S+)"
)
_LOGIN = re.compile(r"(?i)\b(basic|bearer)\s+(?=[\w+/.~-]*[\d+/=_-])[\w+/=.~-]{8,}")


def is_secret_name(name: str) -> bool:
    """Whether a field or variable of this name holds a secret, e.g. ``AWS_SECRET_ACCESS_KEY``."""
    return bool(_SECRET_WORD.search(name))


def redacted(text: object) -> str:
    """An address, or a message with addresses, without users, passwords, keys and signatures in them."""
    shown = _ADDRESS.sub(_address, str(text))
    shown = _ASSIGNED.sub(lambda found: f"{found['name']}{found['quote']}{HIDDEN}", shown)
    shown = _COMMAND.sub(rf"\1{HIDDEN}", _COOKIES.sub(rf"\1{HIDDEN}", shown))
    return _LOGIN.sub(rf"\1 {HIDDEN}", shown)


def _address(found: re.Match[str]) -> str:
    user = f"{HIDDEN}@" if found["user"] else ""
    authority = found["place"].partition("/")[0]
    if not user and ":" in authority and not re.search(r":\d*\W*$|\]", authority):
        # No port: a password without its end, as where an address was cut or holds an unquoted space.
        return f"{found['scheme']}{HIDDEN}"
    return f"{found['scheme']}{user}{found['place']}{_options(found['options'] or '')}"


def _options(options: str) -> str:
    """What follows the path of an address: options by ``&`` or ``;`` after ``?``, or a page after ``#``."""
    parts = re.split(r"([?#&;])", options)
    return "".join(part if place % 2 == 0 and not part else _option(part) for place, part in enumerate(parts))


def _option(part: str) -> str:
    name, equals, value = part.partition("=")
    if part in "?#&;" or (part.startswith("/") and not equals and "@" not in part):
        return part
    if equals and name.lower() in _SHOWN_OPTIONS and "@" not in value:
        return part
    return f"{name}={HIDDEN}" if equals else HIDDEN


def printable(text: object) -> str:
    """One line of text, in which line ends and escape sequences are written as ``\\n`` and ``\\x1b``."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode("ascii")
        for sign in shown
    )


def shown_lines(lines: Iterable[object]) -> str:
    """Lines for a person, without secrets, each of them one line whatever names it holds."""
    return "\n".join(printable(redacted(line)) for line in lines)


class CleanRecord(logging.LogRecord):
    """A line of a log without secrets and escape sequences, its traceback included.

    Programs set it by ``logging.setLogRecordFactory``; a text that is put into a line stays on that line.
    """

    def __init__(
        self,
        name: str,
        level: int,
        pathname: str,
        lineno: int,
        msg: object,
        args: Any,
        exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | Any,
        *more: Any,
        **named: Any,
    ) -> None:
        super().__init__(name, level, pathname, lineno, msg, args, exc_info, *more, **named)
        if self.exc_info:
            self.exc_text = shown_lines(logging.Formatter().formatException(self.exc_info).split("\n"))

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        """The line."""
        args = self.args
        if isinstance(args, tuple):
            args = tuple(printable(one) if isinstance(one, str | PurePath) else one for one in args)
        return shown_lines((str(self.msg) % args if args else str(self.msg)).split("\n"))
