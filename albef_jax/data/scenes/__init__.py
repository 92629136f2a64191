"""The built-in world: scene graphs, their images and their captions."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "ScenesSource": "source",
        "ScenesQuestions": "task_sources",
        "ScenesSentences": "task_sources",
        "ScenesTwoImages": "task_sources",
        "ScenesReferring": "task_sources",
        "sample_scene": "world.sample",
    },
)
