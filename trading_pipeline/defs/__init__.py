"""Dagster, and nothing that would be true without Dagster."""
