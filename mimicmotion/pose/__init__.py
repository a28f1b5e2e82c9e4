"""People in pictures: detection, 133 keypoints, tracks, hands, stored tables, alignment of bodies."""
