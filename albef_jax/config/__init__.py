"""The configuration: options with their defaults, recipes, file patterns."""
