"""Choosing complementary experts (paper §3.4)."""
