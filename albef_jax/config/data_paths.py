"""The paths and addresses that the options of data name, with the settings of `config.storage`."""

from ml_collections import ConfigDict

from albef_jax.config.file_patterns import expand
from albef_jax.storage import settings
from albef_jax.storage.paths import AnyPath, under


def use_storage(config: ConfigDict) -> None:
    """From now on addresses have the settings of this configuration."""
    asked = config.storage
    settings.use(settings.Settings(asked.retry_seconds, asked.cache_dir, asked.cache_gb))


def data_path(config: ConfigDict, name: str) -> AnyPath:
    """The path of a name below `data.root`."""
    use_storage(config)
    return under(config.data.root, name)


def data_files(config: ConfigDict, patterns: str) -> tuple[AnyPath, ...]:
    """The files below `data.root` that a list of patterns names, see `file_patterns.expand`."""
    use_storage(config)
    return expand(config.data.root, patterns)


def annotation_files(config: ConfigDict, option: str) -> tuple[AnyPath, ...]:
    """The files of `data.train_files` or `data.eval_files`, under `data.root`."""
    return data_files(config, config.data[option])


def image_root(config: ConfigDict) -> AnyPath:
    """The directory that image paths start from."""
    return data_path(config, config.data.image_root)
