"""Logged calls and feedback on them."""
