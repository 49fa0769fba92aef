"""Systems scored on the same rows as trivial ones, with intervals, as tables and a page."""
