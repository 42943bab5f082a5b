"""Chaos on real Ray: three raylets, real faults, judged by a ledger that the trainables write themselves."""
