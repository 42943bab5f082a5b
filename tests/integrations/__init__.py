"""Adapters for other libraries, tested with these where they are installed."""
