"""Scene graphs: sampled, changed, and the facts that hold in them."""
