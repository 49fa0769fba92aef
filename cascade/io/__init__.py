"""Files in and out, plain objects between. Never imports torch."""
