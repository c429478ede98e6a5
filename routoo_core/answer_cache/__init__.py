"""Answers that are given again: what is stored of them, where, and which calls may have one."""
