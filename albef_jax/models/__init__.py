"""The network as functions of parameters. Flax stays in here."""
