"""Networks whose features are compared, and how their files are loaded."""
