"""Replaying traffic through the router and a ledger."""
