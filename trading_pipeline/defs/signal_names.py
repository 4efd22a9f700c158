"""How the assets of signals are called."""

SUFFIX = "_signal"


def signal_name(strategy: str) -> str:
    """Return the name of a strategy's signal asset."""
    return f"{strategy}{SUFFIX}"


def is_signal(asset: str) -> bool:
    """Tell whether an asset is a strategy's signal."""
    return asset.endswith(SUFFIX)
