"""What runs when: Prefect flows, deployments and the command line. Imports stages, never torch."""
