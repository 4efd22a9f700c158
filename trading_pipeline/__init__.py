"""Daily bars to fills for rule-based ETF strategies, as one Dagster lineage graph.

bars -> indicators -> signals -> allocation -> orders -> fills
"""

__version__ = "0.1.0"
