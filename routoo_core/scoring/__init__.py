"""Experts run on prompts, and their answers graded: a table of outcomes (paper §3.1)."""
