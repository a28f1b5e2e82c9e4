"""The form of every setting: a frozen part of a config that is checked as a whole.

A setting is declared once, next to what it sets; a stage inherits the section that it needs.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the config that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
