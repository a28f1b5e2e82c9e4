"""Input that hypothesis makes up, the same in every run, and what becomes of it."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mimicmotion.errors import MimicMotionError

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# What YAML, JSON and people come up with.
words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "..", "../x", "/etc/passwd", "a/b", "~nobody/x", "a" * 5000, "\x00", "nan", "-1", "s3://x"]
    ),
)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


def tried(call: Callable[..., Any], *arguments: Any, **more: Any) -> tuple[Any, str]:
    """What a call gives, or its error in our own words; any other error fails the test."""
    try:
        return call(*arguments, **more), ""
    except MimicMotionError as error:
        return None, str(error)
