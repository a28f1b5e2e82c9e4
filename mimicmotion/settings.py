"""The form of every setting: a frozen part of a config that is checked as a whole.

A setting is declared once, next to what it sets; a stage inherits the section that it needs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict

_Part = TypeVar("_Part", bound="Section")


class Section(BaseModel):
    """A frozen part of the config that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old names of fields -> what to write instead; an old name ends with a message that says so."""

    def replaced(self, **values: Any) -> Self:
        """The same section with other values, checked."""
        return type(self).model_validate({**dict(self), **values})

    def part(self, section: type[_Part]) -> _Part:
        """The fields that this section inherits from another one, alone."""
        return section.model_validate({name: getattr(self, name) for name in section.model_fields})
