"""Measures of generated videos: pictures, whole videos, poses, flicker, and the protocols that fix them."""
