"""The command ``export-poses``: stored keypoints in the forms of common tools.

``mimicmotion export-poses configs/demo.yaml --form dwpose --out poses``

``flows/cli.py`` mounts the function ``export_poses``.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated

import typer

from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.durable import in_place
from mimicmotion.errors import InputError
from mimicmotion.names import normal
from mimicmotion.pose.files.exporting import PoseForm
from mimicmotion.pose.files.exporting import export_poses as write_poses
from mimicmotion.pose.files.importing import VideoShape
from stages.engine.config import load_config
from stages.engine.plan import StageGraph
from stages.engine.progress import progress
from stages.parts.export_folder import check_out


def export_poses(
    config: Config,
    out: Annotated[Path, typer.Option(help="The folder to make; it must not be there, or be empty.")],
    form: Annotated[
        PoseForm,
        typer.Option(
            help="openpose: a JSON file a frame; dwpose: one a film, as DWPose for ComfyUI writes it; "
            "parquet: one table a film."
        ),
    ] = "openpose",
    overrides: Overrides = None,
) -> None:
    """Write the keypoints of every film under its own name, so that pose.import_folder reads them back."""
    check_out(out)
    graph = StageGraph(load_config(config, overrides or []))
    poses = graph.result("pose")
    decode = graph.read_by(poses)["decode"]
    names = _names({video_id: decode.item_table(video_id)["source"][0].as_py() for video_id in poses.ids})
    with in_place(out) as folder, progress("writing", "films") as show:
        folder.mkdir()
        for number, (name, video_id) in enumerate(sorted(names.items())):
            facts = decode.item_table(video_id).to_pylist()[0]
            write_poses(poses.item_table(video_id), VideoShape.of(facts), folder / name, form)
            show(number + 1, len(names), facts["source"])
        if out.is_dir():
            out.rmdir()
    Terminal().lines(f"{out}: poses of {len(poses.ids)} films, {form}, pose dataset {poses.key}")


def _names(sources: Mapping[str, str]) -> dict[PurePath, str]:
    """Place in the export -> video; a film's comes before those in a folder of its name."""
    names: dict[PurePath, str] = {}
    for video_id, source in sources.items():
        name = PurePath(normal(source)).with_suffix("")
        if name.is_absolute() or ".." in name.parts:  # it lies outside of the source, and so would its poses
            name = PurePath(name.name)
        if name in names:
            raise InputError(
                f"{sources[names[name]]} and {source} would both be {name}: poses are named without the "
                "ending, as pose.import_folder reads them; rename one of these films"
            )
        names[name] = video_id
    return names
