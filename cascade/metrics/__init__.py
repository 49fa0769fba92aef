"""Scores: strings and arrays in, numbers out. Never imports torch."""
