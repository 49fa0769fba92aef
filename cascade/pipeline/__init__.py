"""The stages and the loop of the cascade, closed on disk: each can be rerun, killed, resumed."""
