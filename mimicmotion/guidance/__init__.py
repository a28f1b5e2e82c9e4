"""What the network sees of a pose: the drawn picture of keypoints and their confidences."""
