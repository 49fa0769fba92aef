"""One short module a command; with ``training.trainer`` the only room that knows Hydra."""
