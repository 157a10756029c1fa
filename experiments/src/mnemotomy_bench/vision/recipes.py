"""How each classifier is trained: settings that reach the published accuracy, or that a small machine can afford."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.lab.cases import STRICT, document, validated


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One-cycle training (Smith and Topin 2018), the learning rate falling to 0 at the last step.

    Attributes:
        optimizer: ``sgd`` with Nesterov momentum 0.9, ``adam`` or ``adamw``.
        learning_rate: the highest.
        epochs: passes over the training examples.
        batch_size: examples per step.
        weight_decay: of matrices and kernels; biases and normalisation have none.
        warmup: the share of all steps in which the learning rate rises.
        label_smoothing: the share of the target spread over all classes.
        padding: pixels by which images are shifted at random.
        flip: whether images are mirrored at random.
        sides: by share of the epochs done, the side at which images are shown from then on; learning from small images
            costs a fraction (Howard 2018).
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    epochs: int = 10
    batch_size: int = 128
    weight_decay: float = 5e-4
    warmup: float = 0.2
    label_smoothing: float = 0.0
    padding: int = 0
    flip: bool = False
    sides: tuple[tuple[float, int], ...] = ()

    def side(self, done: float) -> int | None:
        """The side of images when a share ``done`` of the epochs is done; None for the original side."""
        found = [side for since, side in self.sides if done >= since]
        return found[-1] if found else None

    def whole_epochs(self, whole: int) -> float:
        """The number of epochs at side ``whole`` with the same arithmetic, for a convolutional network."""
        sides = [self.side(epoch / self.epochs) or whole for epoch in range(self.epochs)]
        return sum((side / whole) ** 2 for side in sides)


def recipe_for(network: str, data: str) -> Recipe:
    """The recipe of a network on a data set.

    Raises:
        ConfigurationError: there is no recipe for this pair.
    """
    recipes: dict[str, dict[str, Recipe]] = validated(dict[str, dict[str, Recipe]], document("recipes"), "recipes.yaml")
    if data not in recipes.get(network, {}):
        known = ", ".join(f"{one} on {other}" for one, some in recipes.items() for other in some)
        raise ConfigurationError(f"there is no recipe for {network} on {data}; choose one of {known}")
    return recipes[network][data]
