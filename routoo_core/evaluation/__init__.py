"""Replay the served selectors over outcomes: curves, metrics, baselines, figures."""
