"""The fake stages under the names of real ones, so that the real flows run them."""

from typing import ClassVar

from fake_stages import Letters, Shouts, Total


class Decode(Letters):
    """Letters in the place of videos."""

    name: ClassVar[str] = "decode"


class Pose(Shouts):
    """Shouts in the place of poses."""

    name: ClassVar[str] = "pose"
    reads: ClassVar[tuple[str, ...]] = ("decode",)

    def items(self, inputs):
        """The items of Shouts, from the texts of this pipeline."""
        return super().items({"letters": inputs["decode"]})


class Clips(Total):
    """A total in the place of clips."""

    name: ClassVar[str] = "clips"
    reads: ClassVar[tuple[str, ...]] = ("decode",)
    optional_reads: ClassVar[tuple[str, ...]] = ("pose",)

    def run(self, inputs, folder, context):
        """The total of Total, from the texts of this pipeline."""
        return super().run({"letters": inputs["decode"]}, folder, context)


STAGES = {
    "decode": "fake_pipeline:Decode",
    "pose": "fake_pipeline:Pose",
    "clips": "fake_pipeline:Clips",
}
"""What replaces ``stages.engine.config.STAGES``."""
