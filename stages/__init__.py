"""The stages: each reads datasets and writes one. Imports mimicmotion, never prefect."""
