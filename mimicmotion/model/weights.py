"""Weights in every form that people have, in and out of a pipeline: strict, local paths only.

Two forms: a *released* file (``.pth`` or ``.safetensors``) holds UNet and PoseNet in one flat list of tensors
``unet.*`` and ``pose_net.*``; a *folder* in diffusers layout holds all parts. A released file needs a base,
the folder of Stable Video Diffusion, for the rest.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.clip import CLIPImageProcessorPil

from mimicmotion.durable import put_in_place
from mimicmotion.errors import WeightsError, is_machine_fault
from mimicmotion.foreign import says_out_of_memory
from mimicmotion.model.over_time import quicken
from mimicmotion.model.pipeline import MimicMotionPipeline, read_guidance
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import ImageEncoder, Vae
from mimicmotion.model.unet import PoseUNet
from mimicmotion.weights.facts import told_by
from mimicmotion.weights.tensors import fill_strictly, read_tensors

FILE_SUFFIXES = (".safetensors", ".pth")

_WHENCE = {
    "svd": (
        "It is part of Stable Video Diffusion XT 1.1 (huggingface.co, stabilityai/stable-video-diffusion-"
        "img2vid-xt-1-1), which is gated: accept its licence there, which restricts commercial use, and "
        "download the whole folder, or run `mimicmotion weights fetch`. Then give the folder's path"
    ),
    "released": (
        "The released checkpoint is MimicMotion_1-1.pth (huggingface.co, tencent/MimicMotion); download it "
        "or run `mimicmotion weights fetch`. One of your own is the `checkpoint` folder of a train stage"
    ),
}


def load_pipeline(
    path: Path | str,
    base: Path | str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    new_pose_net: bool = False,
) -> MimicMotionPipeline:
    """Return the pipeline of a released file or a folder, on the host, ready to sample.

    Args:
        path: a released ``.pth`` or ``.safetensors`` file, or a folder in diffusers layout.
        base: folder in diffusers layout that holds what ``path`` does not: the VAE, the image encoder and
            its preprocessor, and for a released file the config of the UNet.
        dtype: number type of all weights.
        new_pose_net: give a folder that has no PoseNet (SVD itself) a fresh one, for training.

    Raises:
        WeightsError: a file is missing (says where it comes from), unreadable, or of another network.
    """
    path, base = Path(path), Path(base) if base is not None else None
    if not path.exists():
        raise WeightsError(f"no weights at {path.absolute()}. {_WHENCE['released']}.")
    folders = [folder for folder in (path, base) if folder is not None and folder.is_dir()]
    tensors = _split(read_released(path, only_unet=new_pose_net), path)
    unet = fill_strictly(
        _on_meta(PoseUNet, _part(folders, "unet", "config.json")), tensors["unet"], f"{path}"
    )
    quicken(unet)
    pose_net = _pose_net(unet, tensors["pose_net"], folders, path)
    vae, image_encoder, feature_extractor = load_encoders(*folders)
    pipeline = MimicMotionPipeline(
        vae=vae,
        image_encoder=image_encoder,
        feature_extractor=feature_extractor,
        unet=unet.eval(),
        pose_net=pose_net.eval(),
    )
    pipeline.guidance = read_guidance(path) if path.is_dir() else {}
    return pipeline.to(dtype=dtype, silence_dtype_warnings=True)


def load_encoders(
    *folders: Path,
) -> tuple[Vae, ImageEncoder, CLIPImageProcessorPil]:
    """Return the VAE, the image encoder and its preprocessor, without the networks that are trained.

    Args:
        folders: in diffusers layout; each part comes from the first that has it.

    Raises:
        WeightsError: a file is missing, or of another network.
    """
    image_encoder = _image_encoder(_part([*folders], "image_encoder", "config.json"))
    preprocessor = _part([*folders], "feature_extractor", "preprocessor_config.json")
    with _reading(preprocessor):
        feature_extractor = CLIPImageProcessorPil.from_pretrained(preprocessor)
    return load_vae(*folders), image_encoder, feature_extractor


def load_vae(*folders: Path) -> Vae:
    """Return the VAE of the first folder that has one, as ``load_encoders`` does."""
    folder = _part([*folders], "vae", "config.json")
    vae: Vae = fill_strictly(_on_meta(Vae, folder), _folder_tensors(folder), f"{folder}")
    quicken(vae)
    return vae.eval()


def read_released(path: Path, *, only_unet: bool = False) -> dict[str, Tensor]:
    """Return UNet's and PoseNet's tensors of a released file or a folder, named as in released files.

    Args:
        path: file or folder.
        only_unet: a folder may lack PoseNet.

    Raises:
        WeightsError: something is missing or unreadable.
    """
    if path.is_file():
        return read_tensors(path)
    parts = {"unet": _folder_tensors(_part([path], "unet", "config.json"))}
    if not only_unet or (path / "pose_net").is_dir():
        parts["pose_net"] = _folder_tensors(_part([path], "pose_net", "config.json"))
    return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def save_released(
    tensors: Mapping[str, Tensor] | MimicMotionPipeline, path: Path, told: Mapping[str, str] | None = None
) -> None:
    """Write UNet and PoseNet as one file of the released form; it appears when it is complete.

    Args:
        tensors: named as in released files, or a pipeline.
        path: ``.safetensors`` or ``.pth``.
        told: what ``told_by`` is to find in it; a ``.pth`` file has no place for it.

    Raises:
        WeightsError: another suffix, or one that has no place for what a distilled checkpoint must say.
    """
    if path.suffix == ".pth" and json.loads((told or {}).get("training.json", "{}")).get("sampling"):
        raise WeightsError(
            f"{path}: these weights are distilled, and a .pth file cannot say how they are to be sampled: "
            "write .safetensors or a folder"
        )
    if path.suffix not in FILE_SUFFIXES:
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}; a released file has one of {FILE_SUFFIXES}"
        )
    if isinstance(tensors, MimicMotionPipeline):
        tensors = {
            f"{part}.{name}": value
            for part in ("unet", "pose_net")
            for name, value in getattr(tensors, part).state_dict().items()
        }
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".pth":
            torch.save(flat, staging)
        else:
            save_file(flat, staging, metadata={"format": "pt", **(told or {})})
            _sort_metadata(staging)
        put_in_place(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _sort_metadata(path: Path) -> None:
    """Put a file's metadata, which safetensors writes in an order of chance, in that of its names."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size))


def convert(
    source: Path, target: Path, base: Path | None = None, told: Mapping[str, str] | None = None
) -> None:
    """Write weights in another form: the target is a folder unless it ends in ``.safetensors`` or ``.pth``.

    A folder is checked strictly and written in float32; a file keeps the number type of its source. What the
    source says of its training beside the weights goes along, see ``told_by``.

    Args:
        source: released file or folder.
        target: what to write; appears when it is complete.
        base: needed where a released file becomes a folder; see ``load_pipeline``.
        told: more of what the target is to say, where the source has no place for it.

    Raises:
        WeightsError: the source cannot be used, or the target is there already.
    """
    if not source.exists():
        raise WeightsError(f"no weights at {source.absolute()}. {_WHENCE['released']}.")
    if target.exists():
        raise WeightsError(f"{target} is there already; delete it, or choose another name")
    told = {**(told or {}), **told_by(source)}
    if target.suffix in FILE_SUFFIXES:
        tensors = read_released(source)
        _split(tensors, source)  # refuses what belongs to neither network
        save_released(tensors, target, told)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".convert-") as folder:
        staging = Path(folder, target.name)
        load_pipeline(source, base).save_pretrained(staging)
        for name, text in told.items():
            (staging / name).write_text(text, encoding="utf-8")
        put_in_place(staging, target)


def _split(tensors: Mapping[str, Tensor], path: Path) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"unet": {}, "pose_net": {}}
    strange = []
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = value
        else:
            strange.append(name)
    if strange:
        raise WeightsError(
            f"{path} holds {len(strange)} tensors that belong neither to unet.* nor to pose_net.*, "
            f"e.g. {', '.join(strange[:5])}; a released checkpoint has these two parts alone"
        )
    return parts


def _part(folders: list[Path], part: str, file: str) -> Path:
    """The first folder of this part that holds this file."""
    for folder in folders:
        if (folder / part / file).is_file():
            return folder / part
    wanted = " or ".join(str((folder / part / file).absolute()) for folder in folders) or f"{part}/{file}"
    whence = _WHENCE["released" if part == "pose_net" else "svd"]
    raise WeightsError(
        f"the file {wanted} is missing. {whence}" + (" as base." if part != "pose_net" else ".")
    )


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What libraries raise at damaged files of a folder, in words."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        # Libraries say "no valid JSON" by an OSError without a number.
        of_machine = getattr(error, "errno", None) is not None and is_machine_fault(error)
        if says_out_of_memory(error) or of_machine or isinstance(error, PermissionError):
            raise
        raise WeightsError(
            f"{folder} cannot be read: {error}. A file of it is damaged or incomplete: copy it again"
        ) from error


def _on_meta(kind: Any, folder: Path) -> Any:
    """A network of this config without memory for weights."""
    with _reading(folder), torch.device("meta"):
        return kind.from_config(kind.load_config(folder, local_files_only=True))


def _folder_tensors(folder: Path) -> dict[str, Tensor]:
    return read_tensors(_weight_file(folder, "diffusion_pytorch_model"))


def _weight_file(folder: Path, stem: str) -> Path:
    for suffix in (".safetensors", ".fp16.safetensors", ".bin"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    if index := next(folder.glob(f"{stem}*.index.json"), None):
        raise WeightsError(
            f"{index} says that these weights lie in several files, and one is read: load and save them once "
            'with save_pretrained(..., max_shard_size="100GB")'
        )
    raise WeightsError(
        f"the file {(folder / stem).absolute()}.safetensors is missing though its config.json is there: the "
        "download or copy is incomplete"
    )


def _pose_net(unet: PoseUNet, tensors: dict[str, Tensor], folders: list[Path], path: Path) -> PoseNet:
    configs = [folder / "pose_net" for folder in folders if (folder / "pose_net" / "config.json").is_file()]
    width = unet.config.block_out_channels[0]
    if path.is_dir() and not tensors:
        return PoseNet(out_channels=width)
    with torch.device("meta"):
        empty = PoseNet(out_channels=width)
    return fill_strictly(_on_meta(PoseNet, configs[0]) if configs else empty, tensors, f"{path}")


def image_encoder_file(folder: Path) -> Path:
    """The file with the weights of the image encoder in its folder."""
    return _weight_file(folder, "pytorch_model" if (folder / "pytorch_model.bin").is_file() else "model")


def _image_encoder(folder: Path) -> ImageEncoder:
    variant = "fp16" if image_encoder_file(folder).name == "model.fp16.safetensors" else None
    with _reading(folder):
        encoder, report = ImageEncoder.from_pretrained(
            folder, output_loading_info=True, local_files_only=True, variant=variant
        )
    # Positions are counted, not learnt; files of older versions hold them all the same.
    wrong = [
        f"{kind} {name}"
        for kind, names in report.items()
        for name in sorted(map(str, names))
        if not name.endswith("position_ids")
    ]
    if wrong:
        raise WeightsError(f"the weights of {folder} do not fit the image encoder: {', '.join(wrong)}")
    return encoder.eval()
