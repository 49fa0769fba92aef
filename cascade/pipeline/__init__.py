"""The stages and the loop of the cascade, closed on disk: every stage can be rerun, killed, resumed."""
