"""Several processes as one job: how they find each other, synchronise and end."""
