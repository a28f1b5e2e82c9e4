"""The built-in toy world: rendered dancers with true keypoints, and the small models that live in it."""
