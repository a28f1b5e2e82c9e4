"""From a reference picture and driving poses to a video: what the command and the stage share."""
