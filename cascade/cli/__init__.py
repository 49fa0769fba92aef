"""One short module a command; with ``training.fit`` the only room that knows Hydra."""
