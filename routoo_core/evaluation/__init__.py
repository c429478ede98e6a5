"""Evaluate routers on prompts they did not learn from: predictions, curves, stress, report."""
