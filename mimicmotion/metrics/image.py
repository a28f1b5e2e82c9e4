"""Per-frame distances between a true and a generated video: PSNR, SSIM, L1.

All functions take two uint8 arrays (n, h, w, 3) in RGB and give one float64 per frame, so that a caller
may average over frames or over videos as its protocol says.
"""

from collections.abc import Callable

import cv2
import numpy as np

from mimicmotion.errors import InputError

PEAK = 255.0
IDENTICAL_PSNR_DB = 100.0
"""What an identical frame counts in a mean of PSNR, as in DisCo's code; its own PSNR is infinite."""
SSIM_WINDOW_PX = 7


def check_pair(true: np.ndarray, generated: np.ndarray) -> None:
    """Make sure that two videos can be compared frame by frame.

    Raises:
        InputError: not uint8 (n, h, w, 3), another number of frames, another size, or no frame at all.
    """
    for name, frames in (("true", true), ("generated", generated)):
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise InputError(
                f"the {name} frames are {frames.dtype} of shape {frames.shape}; "
                "a metric compares uint8 RGB frames of shape (n, h, w, 3)"
            )
    if true.shape[0] != generated.shape[0]:
        raise InputError(
            f"the true video has {true.shape[0]} frames and the generated one {generated.shape[0]}; "
            "frames are compared by index, so both need the same number: cut or regenerate one of them"
        )
    if true.shape != generated.shape:
        raise InputError(
            f"true frames are {true.shape[2]}x{true.shape[1]} and generated ones "
            f"{generated.shape[2]}x{generated.shape[1]}; bring both to the size of the protocol first"
        )
    if true.shape[0] == 0:
        raise InputError("there is no frame to compare: both videos are empty")


def psnr(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame in dB, float64 (n,); infinite where frames are identical.

    10 log10(255^2 / MSE) over all pixels and channels, with differences in float64: in uint8 they wrap.
    """
    check_pair(true, generated)
    return _decibel(_mean_per_frame(lambda a, b: (a.astype(np.float64) - b) ** 2, true, generated))


def psnr_legacy(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """The wrong PSNR that was published for years, float64 (n,): differences and squares wrap at 256.

    Only for reading old tables: it lies near 29 to 31 dB for almost any pair. Identical frames count 100.
    """
    check_pair(true, generated)
    wrapped = _mean_per_frame(lambda a, b: (a - b) ** 2, true, generated)
    return capped(_decibel(wrapped))


def l1(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame over pixels and channels, float64 (n,) in [0, 1]."""
    check_pair(true, generated)
    return _mean_per_frame(lambda a, b: np.abs(a.astype(np.int16) - b), true, generated) / PEAK


def ssim(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame on grey pictures, float64 (n,) in [-1, 1].

    Equal to scikit-image's default on uint8 grey pictures: 7 x 7 uniform window, sample covariance,
    K1 0.01, K2 0.03, borders of 3 pixels left out (Wang et al. 2004).

    Raises:
        InputError: a side is shorter than the window.
    """
    check_pair(true, generated)
    if min(true.shape[1:3]) < SSIM_WINDOW_PX:
        raise InputError(
            f"frames of {true.shape[2]}x{true.shape[1]} are too small for SSIM: "
            f"its window is {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX}"
        )
    pairs = zip(true, generated, strict=True)
    return np.array([_ssim_grey(_grey(a), _grey(b)) for a, b in pairs])


def capped(decibel: np.ndarray) -> np.ndarray:
    """PSNR with at most 100 dB, so that a mean over frames stays finite."""
    return np.minimum(decibel, IDENTICAL_PSNR_DB)


def _mean_per_frame(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray], true: np.ndarray, generated: np.ndarray
) -> np.ndarray:
    return np.array([distance(a, b).mean(dtype=np.float64) for a, b in zip(true, generated, strict=True)])


def _decibel(mean_square: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(PEAK**2 / mean_square)


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float64)


def _window_mean(image: np.ndarray) -> np.ndarray:
    window = (SSIM_WINDOW_PX, SSIM_WINDOW_PX)
    edge = SSIM_WINDOW_PX // 2
    return cv2.boxFilter(image, cv2.CV_64F, window)[edge:-edge, edge:-edge]


def _ssim_grey(a: np.ndarray, b: np.ndarray) -> float:
    count = SSIM_WINDOW_PX**2
    sample = count / (count - 1)
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a = sample * (_window_mean(a * a) - mean_a**2)
    var_b = sample * (_window_mean(b * b) - mean_b**2)
    cov = sample * (_window_mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return float((luminance * structure).mean())
