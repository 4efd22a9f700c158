"""What each table promises: contracts in YAML, kept by Pandera and shown as Dagster asset checks.

A contract knows a table by its column names and nothing else of the pipeline.
Importing this package or :mod:`dbt_like_checks.contract` reads no data and
brings neither pandas nor Pandera nor Dagster.
"""
