"""MLflow: what a stage shows, and the registry of models."""
