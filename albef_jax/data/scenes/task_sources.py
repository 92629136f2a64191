"""The built-in world as a data source for each downstream task, random access to any size."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from albef_jax.data.records import Labelled, Question, Referring, Sentence, TwoImages
from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.language import entailment, two_images
from albef_jax.data.scenes.language.entailment import Judged
from albef_jax.data.scenes.language.questions import Asked, ask
from albef_jax.data.scenes.language.referring import Referred, candidates, pixel_box, refer
from albef_jax.data.scenes.language.two_images import Compared
from albef_jax.data.scenes.world.draw import ENTAILMENT, QUESTION, REFERRING, TWO_IMAGES
from albef_jax.data.scenes.world.graph import COLOURS, SceneObject
from albef_jax.data.scenes.world.sample import HELD_OUT
from albef_jax.data.scenes.world.shapes import SHAPES
from albef_jax.data.scenes.world.split import SceneSplit


class _TaskSource(SceneSplit):
    """Items with the scene or the scenes that they are about."""

    def told(self, index: int) -> Any:
        """The item without images."""
        raise NotImplementedError

    def texts(self, index: int) -> tuple[str, ...]:
        """The item's text alone."""
        return (self.told(index).text,)

    def unseen(self, index: int) -> bool:
        """Whether the item shows an object of a `HELD_OUT` combination, in any of its scenes."""
        told = self.told(index)
        scenes = (told.left, told.right) if isinstance(told, Compared) else (told.scene,)
        return any((one.colour, one.shape) in HELD_OUT for scene in scenes for one in scene.objects)


@dataclass(frozen=True)
class ScenesQuestions(_TaskSource):
    """Questions with one answer of `questions.ANSWERS` each."""

    def told(self, index: int) -> Asked:
        """The question and its scene, without an image."""
        return ask(self.scenes(index), self.random(index, QUESTION), train=self.train)

    def answer_counts(self) -> np.ndarray:
        """One a question, int `[N]`."""
        return np.ones(len(self), int)

    def __getitem__(self, index: int) -> Question:
        """The question `scenes/<split>/question/<index>`."""
        told = self.told(index)
        return Question(
            f"scenes/{self.split}/question/{index}",
            render(told.scene, self.image_size),
            told.text,
            (told.answer,),
            "vqa",
            int(index),
            told.kind,
        )


@dataclass(frozen=True)
class ScenesObjects(SceneSplit):
    """Scenes with one object each, whose colour and shape are the class."""

    classes = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
    most_objects: int = 1

    def thing(self, index: int) -> SceneObject:
        """The object, without an image."""
        return next(self.scenes(index)).objects[0]

    def unseen(self, index: int) -> bool:
        """Whether the combination is never trained on."""
        thing = self.thing(index)
        return (thing.colour, thing.shape) in HELD_OUT

    def __getitem__(self, index: int) -> Labelled:
        """The image `scenes/<split>/object/<index>`."""
        scene = next(self.scenes(index))
        thing = scene.objects[0]
        return Labelled(
            f"scenes/{self.split}/object/{index}",
            render(scene, self.image_size),
            self.classes.index(f"{thing.colour} {thing.shape}"),
        )


@dataclass(frozen=True)
class ScenesSentences(_TaskSource):
    """Sentences for visual entailment."""

    def told(self, index: int) -> Judged:
        """The sentence and its scene, without an image."""
        rng = self.random(index, ENTAILMENT)
        return entailment.tell(self.scenes(index), rng, train=self.train)

    def __getitem__(self, index: int) -> Sentence:
        """The sentence `scenes/<split>/sentence/<index>`."""
        told = self.told(index)
        image = render(told.scene, self.image_size)
        return Sentence(f"scenes/{self.split}/sentence/{index}", image, told.text, told.label)


@dataclass(frozen=True)
class ScenesTwoImages(_TaskSource):
    """Statements over two images."""

    def told(self, index: int) -> Compared:
        """The statement and its scenes, without images."""
        rng = self.random(index, TWO_IMAGES)
        return two_images.tell(self.scenes(index), rng, train=self.train)

    def __getitem__(self, index: int) -> TwoImages:
        """The statement `scenes/<split>/two_images/<index>`."""
        told = self.told(index)
        left, right = (render(scene, self.image_size) for scene in (told.left, told.right))
        name = f"scenes/{self.split}/two_images/{index}"
        return TwoImages(name, left, right, told.text, int(told.label))


@dataclass(frozen=True)
class ScenesReferring(_TaskSource):
    """Referring expressions; with boxes outside of 'train'."""

    def told(self, index: int) -> Referred:
        """The expression and its scene, without an image."""
        return refer(self.scenes(index), self.random(index, REFERRING))

    def __getitem__(self, index: int) -> Referring:
        """The expression `scenes/<split>/referring/<index>`."""
        rng = self.random(index, REFERRING)
        told = refer(self.scenes(index), rng)
        size = self.image_size
        if self.train:
            ref_id, box, boxes = -1, None, np.zeros((0, 4), np.float32)
        else:
            ref_id, box = int(index), pixel_box(told.scene.objects[told.index], size)
            boxes = candidates(told.scene, told.index, size, rng)
        return Referring(
            f"scenes/{self.split}/referring/{index}",
            render(told.scene, size),
            told.text,
            int(index),
            ref_id,
            box,
            boxes,
            self.split,
        )
