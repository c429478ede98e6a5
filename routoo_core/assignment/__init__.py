"""Assigning a batch of prompts under a budget (paper §3.3)."""
