"""Any source of pairs to ArrayRecord shards with a manifest, shard by shard."""
