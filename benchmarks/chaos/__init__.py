"""Chaos: runs under random faults, each held against an undisturbed one and the workers' own ledger."""
