"""The latents stage: VAE latents and image embeddings of what training will read, video by video.

    mimicmotion stage latents configs/paper.yaml

Optional: with a section ``latents`` in the config, training reads these instead of pictures and needs
neither VAE nor image encoder at every step.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.training.settings import Precision
from mimicmotion.video.framing import Framing
from mimicmotion.video.settings import ReaderSettings
from stages.clip_rows import LATENTS_FILE, VIDEO_FILE, ClipRow, VideoRow, kept_clips, video_rows
from stages.engine.contract import Dataset, Item, ItemStage, Report, Runtime

if TYPE_CHECKING:
    import torch

    from mimicmotion.training.data.batch import Encoders

LATENTS_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("num_frames", pa.int32()),
        ("num_embeddings", pa.int32()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("num_bytes", pa.int64()),
    ]
)
"""One row per video: encoded frames, embedded reference candidates, size of the encoded pictures."""

_NUM_PICTURED = 4


class LatentsRuntime(Runtime):
    """How the latents stage runs."""

    chunk: int = Field(
        8, ge=1, description="Pictures that are read at a time; at most 8 of them are encoded together."
    )
    decode_threads: int = Field(
        1, ge=1, description="Threads that decode ahead of the networks; a GPU needs a core for each."
    )


@dataclass(frozen=True)
class View:
    """Frames of one video to encode through one framing, and the references among them to embed."""

    fit: Framing
    frames: tuple[int, ...]
    references: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """The frozen networks on the worker's device, as training from pictures runs them."""

    encoders: "Encoders"
    device: "torch.device"


class Latents(ReaderSettings, ItemStage):
    """Encodes the frames of training windows and the pictures that may be their reference."""

    name: ClassVar[str] = "latents"
    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("decode", "clips")
    schema: ClassVar[pa.Schema] = LATENTS_SCHEMA
    renamed: ClassVar[Mapping[str, str]] = {"sizes_px": "clips.sizes_px"}

    runtime: LatentsRuntime = LatentsRuntime()
    base: Path = Field(description="Folder of the pretrained pipeline in diffusers layout.")
    precision: Precision = Field(
        "bfloat16", description="Number type of the VAE on a GPU, as train.precision; a CPU takes float32."
    )

    def weight_files(self) -> dict[str, Path]:
        """The parts of the pipeline that encode; its UNet does not matter here."""
        return {
            "base": self.base / "vae",
            "image_encoder": self.base / "image_encoder",
            "feature_extractor": self.base / "feature_extractor",
        }

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per video with windows to train on."""
        videos = video_rows(inputs["decode"])
        for video_id, views in _views(inputs["clips"], videos).items():
            video = videos[video_id]
            yield Item(
                id=video_id,
                inputs={
                    "video": inputs["decode"].item_key(video_id),
                    "views": json.dumps([asdict(view) for view in views]),
                },
                payload={
                    "video": inputs["decode"].path(video_id, VIDEO_FILE),
                    "views": views,
                },
                label=video.name,
                num_frames=sum(len(view.frames) + len(view.references) for view in views),
            )

    def load(self) -> Loaded:
        """The VAE and the image encoder, on the GPU where the worker has one.

        Raises:
            WeightsError: weights are missing or do not fit.
        """
        import torch

        from mimicmotion.model.weights import load_encoders
        from mimicmotion.training.building import encoders_of

        device = torch.device("cuda" if self.runtime.gpus_per_worker > 0 else "cpu")
        half = device.type == "cuda" and self.precision == "bfloat16"
        return Loaded(encoders_of(*load_encoders(self.base), device, half=half), device)

    def process(self, loaded: Loaded, item: Item, folder: Path) -> pa.Table:
        """Write ``latents.safetensors`` of one video; give its row."""
        from safetensors.torch import save_file

        from mimicmotion.training.data.samples import framing_text

        tensors, counts = dict[str, Any](), np.zeros(2, int)
        for view in item.payload["views"]:
            counts += len(view.frames), len(view.references)
            encoded = self._encoded(loaded, item.payload["video"], view)
            tensors |= {f"{framing_text(view.fit)}/{name}": tensor for name, tensor in encoded.items()}
        save_file(tensors, folder / LATENTS_FILE)
        row = {
            "video_id": item.id,
            "num_frames": counts[0],
            "num_embeddings": counts[1],
            "width_px": view.fit.target[0],
            "height_px": view.fit.target[1],
            "num_bytes": (folder / LATENTS_FILE).stat().st_size,
        }
        return pa.Table.from_pylist([row], schema=LATENTS_SCHEMA)

    def _encoded(self, loaded: Loaded, video: Path, view: View) -> "dict[str, torch.Tensor]":
        """Tensors of one framing: frames and their latents, reference candidates and their embeddings.

        Bytes go to the device and results stay there, so that nothing makes it wait for the host.
        """
        import torch

        from mimicmotion.training.data.batch import as_pictures
        from mimicmotion.video.reader import read_ahead

        latents, embeddings, references = [], [], {*view.references}
        size, threads = self.runtime.chunk, self.runtime.decode_threads
        chunks = [view.frames[begin : begin + size] for begin in range(0, len(view.frames), size)]
        read = read_ahead(video, chunks, view.fit.frames, threads, self.reader)
        for some, frames in zip(chunks, read, strict=True):
            pictures = as_pictures(torch.from_numpy(frames).to(loaded.device).permute(0, 3, 1, 2))
            latents.append(loaded.encoders.latents(pictures).half())
            shown = [place for place, frame in enumerate(some) if frame in references]
            if shown:
                embeddings.append(loaded.encoders.embeddings(pictures[shown]).half())
        return {
            "frames": torch.tensor(view.frames, dtype=torch.int32),
            "latents": torch.cat(latents).cpu().contiguous(),
            "embedded_frames": torch.tensor(view.references, dtype=torch.int32),
            "embeddings": torch.cat(embeddings).cpu(),
        }

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log totals, and the round trip of some frames: what training can reach at best."""
        from mimicmotion.pictures.panels import grid

        table = dataset.table()
        report.metrics(
            {
                "videos": float(table.num_rows),
                "frames": float(sum(table["num_frames"].to_pylist())),
                "gigabytes": sum(table["num_bytes"].to_pylist()) / 1e9,
            }
        )
        loaded = self.model_copy(update={"runtime": LatentsRuntime()}).load()
        views = _views(inputs["clips"], video_rows(inputs["decode"]))
        rows = [
            _round_trip(
                loaded,
                dataset.path(video_id, LATENTS_FILE),
                inputs["decode"].path(video_id, VIDEO_FILE),
                views[video_id][0],
            )
            for video_id in dataset.ids[:_NUM_PICTURED]
        ]
        if rows:
            report.image("round_trip", grid(rows))


def _views(clips: Dataset, videos: Mapping[str, VideoRow]) -> dict[str, list[View]]:
    """What training may read of each video, sorted by its id: the frames of each framing."""
    found: dict[tuple[str, Framing], list[ClipRow]] = {}
    for row in kept_clips(clips, "train", "window"):
        found.setdefault((row.video_id, row.framing(videos[row.video_id])), []).append(row)
    views: dict[str, list[View]] = {}
    for (video_id, fit), rows in sorted(found.items(), key=lambda pair: pair[0][0]):
        references = sorted({frame for row in rows for frame in row.reference_frames})
        frames = sorted({frame for row in rows for frame in row.every_frame} | {*references})
        views.setdefault(video_id, []).append(View(fit, tuple(frames), tuple(references)))
    return views


def _round_trip(loaded: Loaded, file: Path, video: Path, view: View) -> np.ndarray:
    """The first stored frame of a video beside what its latents decode to."""
    from safetensors.torch import load_file

    from mimicmotion.pictures.panels import labelled_row
    from mimicmotion.training.data.samples import framing_text
    from mimicmotion.video.reader import open_video

    frame = view.frames[0]
    true = view.fit.frames(open_video(video).read([frame]))[0]
    stored = load_file(file)[f"{framing_text(view.fit)}/latents"][:1]
    (decoded,) = loaded.encoders.pictures(stored.float() * loaded.encoders.scale)
    return labelled_row({f"frame {frame}": true, "decoded": decoded})
