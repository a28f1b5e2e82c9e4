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
_STRIP_PX = 32


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

    10 log10(255^2 / MSE) over all pixels and channels, with an exact sum of squares: in uint8 they wrap.
    """
    check_pair(true, generated)
    return _decibel(_mean_per_frame(lambda a, b: cv2.norm(a, b, cv2.NORM_L2SQR) / a.size, true, generated))


def psnr_legacy(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """The wrong PSNR that was published for years, float64 (n,): differences and squares wrap at 256.

    Only for reading old tables: it lies near 29 to 31 dB for almost any pair. Identical frames count 100.
    """
    check_pair(true, generated)
    return capped(_decibel(_mean_per_frame(_wrapped_square, true, generated)))


def l1(true: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame over pixels and channels, float64 (n,) in [0, 1]."""
    check_pair(true, generated)
    return _mean_per_frame(lambda a, b: cv2.norm(a, b, cv2.NORM_L1) / a.size, true, generated) / PEAK


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
    return np.array([_ssim_grey(*pair) for pair in pairs])


def capped(decibel: np.ndarray) -> np.ndarray:
    """PSNR with at most 100 dB, so that a mean over frames stays finite."""
    return np.minimum(decibel, IDENTICAL_PSNR_DB)


def _mean_per_frame(
    mean: Callable[[np.ndarray, np.ndarray], float], true: np.ndarray, generated: np.ndarray
) -> np.ndarray:
    return np.array([mean(a, b) for a, b in zip(true, generated, strict=True)], np.float64)


def _wrapped_square(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of what is left in uint8 of squared differences, strip by strip: whole they take a frame more."""
    total = 0
    for top in range(0, len(a), _STRIP_PX):
        difference = a[top : top + _STRIP_PX] - b[top : top + _STRIP_PX]
        total += int(np.square(difference, out=difference).sum(dtype=np.uint64))
    return total / a.size


def _decibel(mean_square: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(PEAK**2 / mean_square)


def _ssim_grey(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two pictures in grey, strip by strip: what fits into the cache is quicker and small."""
    height, width = a.shape[:2]
    border = SSIM_WINDOW_PX - 1
    strips = (slice(top, top + _STRIP_PX + border) for top in range(0, height - border, _STRIP_PX))
    total = sum(
        _similarities(*(cv2.cvtColor(x[strip], cv2.COLOR_RGB2GRAY) for x in (a, b))) for strip in strips
    )
    return total / ((height - border) * (width - border))


def _similarities(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of SSIM over all whole windows: differences in whole numbers, exactly; the ratios in float32."""
    count = SSIM_WINDOW_PX**2
    sum_a, sum_b = _window_sum(a), _window_sum(b)
    squares = cv2.add(cv2.multiply(a, a, dtype=cv2.CV_32S), cv2.multiply(b, b, dtype=cv2.CV_32S))
    product = sum_a * sum_b
    sum_squares = sum_a * sum_a + sum_b * sum_b
    cov = count * _window_sum(cv2.multiply(a, b, dtype=cv2.CV_32S)) - product
    var = count * _window_sum(squares) - sum_squares
    # Means are sums / count, sample variances such differences / (count (count - 1)).
    c1 = np.float32((0.01 * PEAK) ** 2 * count**2)
    c2 = np.float32((0.03 * PEAK) ** 2 * count * (count - 1))
    similarity = _ratio(2 * product, sum_squares, c1)
    similarity *= _ratio(2 * cov, var, c2)
    return float(similarity.sum(dtype=np.float64))


def _window_sum(image: np.ndarray) -> np.ndarray:
    window = (SSIM_WINDOW_PX, SSIM_WINDOW_PX)
    edge = SSIM_WINDOW_PX // 2
    return cv2.boxFilter(image, cv2.CV_32S, window, normalize=False)[edge:-edge, edge:-edge]


def _ratio(above: np.ndarray, below: np.ndarray, constant: np.float32) -> np.ndarray:
    ratio = above.astype(np.float32)
    ratio += constant
    denominator = below.astype(np.float32)
    denominator += constant
    ratio /= denominator
    return ratio
