"""SVD's EDM parameterisation, and a sampler for videos of any length made of pure functions."""
