"""Reports to label tables. Never imports torch."""
