"""ONNX Runtime sessions whose device is the one that was asked for, and whose shapes come from the graph.

ONNX Runtime goes on silently on the CPU when the libraries of CUDA are missing, forty times slower; only
``session.get_providers()`` tells the truth.
"""

import ctypes
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from mimicmotion.errors import InputError, MimicMotionError, WeightsError
from mimicmotion.video.size import Size

logger = logging.getLogger(__name__)

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_OF_NVIDIA: Final = frozenset({_CUDA, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})
_TYPES: Final[dict[str, type[np.floating]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_NORMALISING: Final = frozenset({"Sub", "Add", "Div", "Mul"})
# A mean or deviation of pictures in [0, 1] is smaller; a factor from 255 levels to [0, 1] or less is smaller.
_LARGEST_OF_1, _SMALL_FACTOR = 2.0, 0.1
_PASSED_ON: Final = frozenset({"Cast", "Identity", "Transpose"})
_SIZES: Final = "tensor(int64)"
_ERRORS_ONLY: Final = 3
# Others share the GPU: by default the arena doubles whenever it grows. The number of pictures varies, and the
# default search for the fastest convolution begins anew for each number.
_CUDA_OPTIONS: Final[dict[Any, Any]] = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}


Providers = Mapping[str, Mapping[str, Any]]
"""Options of execution providers by name, in order of preference."""


def open_session(
    path: Path,
    *,
    cuda: bool,
    allow_cpu: bool,
    threads: int,
    half: bool = False,
    providers: Providers | None = None,
) -> ort.InferenceSession:
    """Return a session of the graph in this file, on CUDA if asked and there.

    Args:
        path: the ONNX file.
        cuda: ask for CUDA; else the session is made for the CPU.
        allow_cpu: go on with the CPU, and say so, where CUDA was asked for and is not there.
        threads: threads of one operator on the CPU.
        half: convert a graph of float32 to float16 inside; its inputs and outputs stay as the file has them.
        providers: options of execution providers. With CUDA one that is named is asked for, before the usual
            ones; without CUDA those for NVIDIA's GPUs are left out.

    Raises:
        WeightsError: the file is missing or no ONNX graph.
        InputError: a provider is not in this build; or what was asked for is not given, and the CPU is not
            allowed.
    """
    if not path.is_file():
        raise WeightsError(f"no ONNX model at {path}: name an existing file in the config")
    asked = _asked(cuda, providers or {})
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Workers share the cores: idle threads must not spin on them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    reason = missing_for_cuda() if cuda else None
    if reason is None:
        session = _session(path, options, half, asked)
        refused = [name for name in asked if name not in session.get_providers()]
        if not refused:
            return session
        reason = f"{refused[0]} was refused when the session was made: see the lines of ONNX Runtime above"
    if not allow_cpu:
        raise InputError(
            f"{path.name} was to run on CUDA, but ONNX Runtime cannot use it here: {reason}. "
            "Install what is missing, or set runtime.allow_cpu of this stage to true to go on slowly"
        )
    logger.warning("%s runs on the CPU, many times slower: %s", path.name, reason)
    return _session(path, options, half, {_CPU: {}})


def _asked(cuda: bool, given: Providers) -> dict[str, dict[str, Any]]:
    """The providers of a session with their options, in order."""
    there = ort.get_available_providers()
    if unknown := [name for name in given if name not in there]:
        raise InputError(
            f"ONNX Runtime here has no execution provider {', '.join(unknown)}; it has {', '.join(there)}"
        )
    names = [*given, *([_CUDA] if cuda and _CUDA not in given else ())]
    usable = [name for name in names if name != _CPU and (cuda or name not in _OF_NVIDIA)]
    defaults = {_CUDA: _CUDA_OPTIONS}
    return {name: {**defaults.get(name, {}), **given.get(name, {})} for name in (*usable, _CPU)}


def missing_for_cuda() -> str | None:
    """Return what ONNX Runtime lacks to use CUDA on this machine, in words; None where nothing is missing."""
    if _CUDA not in ort.get_available_providers():
        return f"this build has only {', '.join(ort.get_available_providers())} (install onnxruntime-gpu)"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver ({error})"
    ort.preload_dlls()
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"a library cannot be loaded ({error})"
    return None


def _session(
    path: Path, options: ort.SessionOptions, half: bool, providers: Mapping[str, dict[str, Any]]
) -> ort.InferenceSession:
    options.log_severity_level = _ERRORS_ONLY
    try:
        graph = _in_half(path) if half else str(path)
        return ort.InferenceSession(graph, options, providers=[*providers.items()])
    except (_state.Fail, _state.InvalidProtobuf, _state.InvalidGraph, _state.InvalidArgument,
            _state.NotImplemented, _state.NoModel, ValueError) as error:  # fmt: skip
        raise WeightsError(f"{path} is no ONNX model that can be used: {error}") from error


def _in_half(path: Path) -> bytes:
    """The graph of a file with numbers of float16 inside; what is float16 already stays so."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each number that is too small for float16
        converted = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    return bytes(converted.SerializeToString())


@contextmanager
def _told(session: ort.InferenceSession, path: Path) -> Iterator[None]:
    """ONNX Runtime's own errors of a run, e.g. of too little GPU memory, in words."""
    try:
        yield
    except (_state.Fail, _state.RuntimeException, _state.EPFail, _state.EngineError, RuntimeError) as error:
        device = session.get_providers()[0].removesuffix("ExecutionProvider")
        raise MimicMotionError(f"{path} could not be run on {device}: {error}") from error


def first_output(session: ort.InferenceSession, pixels: np.ndarray, path: Path) -> np.ndarray:
    """The first output of an embedding for pictures or videos, float32.

    Args:
        session: of the graph.
        pixels: float32, e.g. (1, 3, height, width).
        path: of the graph, for messages.

    Raises:
        WeightsError: the graph takes or gives something else.
        MimicMotionError: it cannot be run here, e.g. for want of memory.
    """
    one, output = session.get_inputs()[0], session.get_outputs()[0].name
    try:
        with _told(session, path):
            (found,) = session.run([output], {one.name: pixels.astype(_TYPES.get(one.type, np.float32))})
    except (_state.InvalidArgument, ValueError) as error:
        raise WeightsError(
            f"{path} does not take {pixels.shape} of float32 or float16; its input is {one.type} "
            f"{one.shape}: {error}"
        ) from error
    if not np.isfinite(found := np.asarray(found, np.float32)).all():
        raise WeightsError(f"{path} gives numbers that are not finite: it is broken")
    return found


@dataclass(frozen=True)
class ImageGraph:
    """A session that takes pictures, with the facts of its graph.

    Attributes:
        session: the session.
        path: its file, for messages.
        input_name: name of its one input.
        batch: pictures of one run where the graph fixes it, else None.
        size: of a picture.
        dtype: float32 or float16.
        outputs: its outputs in order, each with its shape as the graph states it.
        size_input: name of a second input that takes width and height of the pictures, if it has one.
    """

    session: ort.InferenceSession
    path: Path
    input_name: str
    batch: int | None
    size: Size
    dtype: type[np.floating]
    outputs: Mapping[str, Sequence[int | str | None]]
    size_input: str | None = None

    @classmethod
    def of(cls, session: ort.InferenceSession, path: Path) -> "ImageGraph":
        """Return the facts of a graph with an input (batch, 3, height, width).

        Raises:
            WeightsError: the graph is of another form.
        """
        inputs = session.get_inputs()
        shape = inputs[0].shape
        sizes = [one.name for one in inputs[1:] if one.type == _SIZES and list(one.shape[1:]) == [2]]
        fits = len(inputs) == 1 + len(sizes) <= 2 and len(shape) == 4 and shape[1] == 3
        fits = fits and inputs[0].type in _TYPES
        if not fits or not all(isinstance(side, int) for side in shape[2:]):
            got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise WeightsError(
                f"{path} must have an input (batch, 3, height, width), float or float16, of fixed height "
                f"and width, and beside it at most one of sizes (batch, 2), int64; it has {got}"
            )
        return cls(
            session=session,
            path=path,
            input_name=inputs[0].name,
            batch=shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None,
            size=Size(shape[3], shape[2]),
            dtype=_TYPES[inputs[0].type],
            outputs={output.name: output.shape for output in session.get_outputs()},
            size_input=sizes[0] if sizes else None,
        )

    @property
    def form(self) -> str:
        """The outputs in words, for messages."""
        return ", ".join(f"{name} {list(shape)}" for name, shape in self.outputs.items())

    def run(self, images: np.ndarray, max_batch: int) -> list[np.ndarray]:
        """Return every output for all pictures, joined along the first axis, as float32.

        Args:
            images: (n, 3, height, width), n at least 1.
            max_batch: most pictures of one run where the graph leaves the number free.
        """
        parts = self.runs(images, max_batch)
        return [
            np.concatenate(outputs).astype(np.float32, copy=False) for outputs in zip(*parts, strict=True)
        ]

    def runs(self, images: np.ndarray, max_batch: int) -> Iterator[list[np.ndarray]]:
        """Yield every output of one run after the other: what a graph finds may be of another number each."""
        size = self.batch or max_batch
        for start in range(0, len(images), size):
            yield self._run_once(images[start : start + size])

    def _run_once(self, images: np.ndarray) -> list[np.ndarray]:
        num = len(images)
        batch = images.astype(self.dtype, copy=False)
        if self.batch is not None and num < self.batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self.batch - num, axis=0)])
        feed = {self.input_name: batch}
        if self.size_input is not None:
            feed[self.size_input] = np.array([self.size] * len(batch), np.int64)
        with _told(self.session, self.path):
            return [output[:num] for output in self._bound(feed)]

    def _bound(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output of one run, copied to and from the device beside it, so that threads overlap that."""
        device = "cuda" if _OF_NVIDIA & {*self.session.get_providers()} else "cpu"
        binding = self.session.io_binding()
        for name, values in feed.items():
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values), device)
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, device)
        self.session.run_with_iobinding(binding)
        outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
        return outputs


@dataclass(frozen=True)
class Beginning:
    """What a graph does to its pictures first, which tells the form it wants them in.

    Attributes:
        operators: kinds of operators that the pictures go into, changes of type and order aside.
        top: level of white where the graph normalises by itself: 255 or 1; None where it does not.
    """

    operators: frozenset[str]
    top: float | None

    @classmethod
    def of(cls, path: Path) -> "Beginning":
        """Read it from an ONNX file, weights in other files left alone."""
        import onnx
        from onnx.helper import get_attribute_value
        from onnx.numpy_helper import to_array

        graph = onnx.load(path, load_external_data=False).graph
        weights: dict[str, Any] = {one.name: one for one in graph.initializer if not one.external_data}
        for node in graph.node:
            if node.op_type == "Constant":  # a tensor, or one number or more
                weights[node.output[0]] = get_attribute_value(node.attribute[0])
        names = {next(one.name for one in graph.input if one.name not in weights)}
        kinds, top = set(), None
        for node in graph.node:
            if names & {*node.input}:
                if node.op_type in _PASSED_ON:
                    names |= {*node.output}
                    continue
                kinds.add(node.op_type)
                known = [weights[name] for name in node.input if name in weights]
                if node.op_type in _NORMALISING and known:
                    first = known[0]
                    values = to_array(first) if isinstance(first, onnx.TensorProto) else np.asarray(first)
                    largest = float(np.abs(values).max())
                    wide = largest < _SMALL_FACTOR if node.op_type == "Mul" else largest > _LARGEST_OF_1
                    top = 255.0 if wide else 1.0
        return cls(frozenset(kinds), top)
