"""Checks data sets, and packs any source of pairs into ArrayRecord shards with a manifest."""
