"""Experts asked directly, metered."""
