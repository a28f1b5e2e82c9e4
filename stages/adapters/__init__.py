"""The only places that import Ray and MLflow."""
