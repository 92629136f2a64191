"""The configuration: options with their defaults, recipes, file patterns."""

from albef_jax.config.defaults import default, model_config, recipe, use_preset, use_small_world
from albef_jax.errors import ConfigError

__all__ = ["ConfigError", "default", "model_config", "recipe", "use_preset", "use_small_world"]
