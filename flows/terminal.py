"""The console that commands print on: no name and no message steers the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from mimicmotion.redaction import printable


class Terminal(Console):
    """A console that shows escape sequences in text as text; colours are Rich's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Pieces of text with their styles."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(_clean(piece.text), piece.style)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text from a string with markup, cleaned before its width is measured."""
        return super().render_str(_clean(text), **options)

    def lines(self, *lines: object) -> None:
        """Print lines as they are, without markup; each stays one line, whatever names it holds."""
        self.print("\n".join(map(printable, lines)), markup=False, highlight=False, soft_wrap=True)


def _clean(text: str) -> str:
    lines: Sequence[str] = text.split("\n")
    return "\n".join(map(printable, lines))
