"""The table of stages fits the stages."""

from importlib import import_module

from stages.engine.catalogue import STAGES


def test_every_stage_is_there_and_reads_only_those_before_it() -> None:
    before: list[str] = []
    for name, place in STAGES.items():
        module, _, attribute = place.partition(":")
        stage = getattr(import_module(module), attribute)
        assert stage.name == name
        assert {*stage.reads, *stage.optional_reads} <= {*before}
        before.append(name)
