"""Where torch can compute: the GPUs that are here, and the number type for each."""

import torch


def device_and_dtype(wants_gpu: bool, precision: str) -> tuple[torch.device, torch.dtype]:
    """The device and number type to work with."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    device = torch.device("cuda" if wants_gpu and has_cuda() else "cpu")
    return device, types[precision]


def has_cuda() -> bool:
    """Whether torch can use a GPU here."""
    return torch.cuda.is_available()


def built_for_cuda() -> bool:
    """Whether the installed torch is a build that can use NVIDIA GPUs at all."""
    return torch.version.cuda is not None


def num_gpus() -> int:
    """How many GPUs torch can use here."""
    return torch.cuda.device_count()


def cuda_names() -> list[str]:
    """Names of the GPUs that torch has really computed on just now."""
    if not torch.cuda.is_available():
        return []
    torch.ones(2, device="cuda").sum().item()
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def torch_version() -> str:
    """Version of torch and of the CUDA that it was built for, as people read it."""
    return (
        torch.__version__ if torch.version.cuda is None else f"{torch.__version__}, CUDA {torch.version.cuda}"
    )
