"""LightningModules train plain networks, and do nothing else."""
