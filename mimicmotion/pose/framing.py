"""The size of a result, and poses brought to it."""

from mimicmotion.errors import InputError
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.framing import Framing
from mimicmotion.video.size import Size

RELEASED_SHORT_SIDE_PX = 576
RELEASED_ASPECT = 9 / 16
RELEASED_MULTIPLE_PX = 64


def released_size(picture: Size, short_side_px: int = RELEASED_SHORT_SIDE_PX) -> Size:
    """The size that the released code gives a picture: 9:16 or 16:9, the long side in steps of 64.

    Args:
        picture: size of the reference picture; a square one counts as landscape, as released.
        short_side_px: the asked resolution; must be a multiple of 64.

    Raises:
        InputError: the resolution is not a positive multiple of 64.
    """
    if short_side_px < RELEASED_MULTIPLE_PX or short_side_px % RELEASED_MULTIPLE_PX:
        raise InputError(
            f"a resolution of {short_side_px} px cannot be used; the short side must be a multiple of "
            f"{RELEASED_MULTIPLE_PX}, e.g. {RELEASED_SHORT_SIDE_PX}"
        )
    long_side = int(short_side_px / RELEASED_ASPECT // RELEASED_MULTIPLE_PX) * RELEASED_MULTIPLE_PX
    return (
        Size(short_side_px, long_side)
        if picture.height_px > picture.width_px
        else Size(long_side, short_side_px)
    )


def framed_track(track: PoseTrack, framing: Framing) -> PoseTrack:
    """The poses in pixels of the framed pictures."""
    return track.resized(framing.scaled).cropped(*framing.offset, framing.target)
