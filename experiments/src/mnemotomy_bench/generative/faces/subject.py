"""One case with one seed: its autoencoder, the engrams in it, and the faces for choices and results."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.modules import observing
from mnemotomy.engram.edit import Edit
from mnemotomy_bench.generative.faces.cases import FaceCase
from mnemotomy_bench.generative.faces.engrams import Engrams
from mnemotomy_bench.generative.faces.portraits import Portraits, load_portraits, without_attribute
from mnemotomy_bench.generative.faces.reading import Reading, read
from mnemotomy_bench.generative.faces.training import train_autoencoder, train_classifier
from mnemotomy_bench.vision.networks.attribute_classifier import AttributeClassifier
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import WassersteinAutoencoder

_BATCH = 256


class FaceSubject:
    """What every method is measured on.

    Args:
        case: its settings.
        seed: of the autoencoder.
        cache_dir: where drawn faces and trained models are kept.
    """

    def __init__(self, case: FaceCase, seed: int, cache_dir: Path) -> None:
        self.case, self.seed, self.cache_dir = case, seed, cache_dir
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def faces(self, split: str) -> Portraits:
        """The faces of ``train``, ``validation``, ``test`` or ``classifier``."""
        return load_portraits(self.case, split, self.cache_dir / "faces").to(self.device)

    @cached_property
    def autoencoder(self) -> WassersteinAutoencoder:
        """The autoencoder, trained on the training faces."""
        return train_autoencoder(self.case, self.seed, self.faces("train"), self.cache_dir / "models")[0]

    @cached_property
    def classifier(self) -> AttributeClassifier:
        """The classifier, the same for every seed."""
        return train_classifier(self.case, self.faces("classifier"), self.cache_dir / "models")

    @cached_property
    def engrams(self) -> Engrams:
        """The engrams of all attributes, collected from training faces."""
        faces = self.faces("train")
        return Engrams(self.autoencoder, faces, faces[: self.case.collected])

    @cached_property
    def validation(self) -> Portraits:
        """Faces that settings are chosen on."""
        return self.faces("validation")

    @cached_property
    def test(self) -> Portraits:
        """Faces that results are measured on.

        Raises:
            DataError: an attribute is in every test face, or in none.
        """
        faces = self.faces("test")
        shares = faces.attributes.float().mean(0)
        for name, share in zip(self.case.attributes, shares.tolist(), strict=True):
            if share in (0.0, 1.0):
                raise DataError(f"{share:.0%} of the test faces have {name}; results need faces with and without")
        return faces

    def truth(self, split: str, place: int) -> Float[Tensor, "n c s s"] | None:
        """Faces that have the attribute, exactly as they would look without it; None for photographs."""
        faces = without_attribute(self.case, split, place, self.cache_dir / "faces")
        return None if faces is None else faces.images.to(self.device)

    def draw(self, images: Float[Tensor, "n c s s"], edit: Edit | None = None) -> Float[Tensor, "n c s s"]:
        """The images as the edited autoencoder redraws them."""
        if edit is not None:
            with edit.on(self.autoencoder, check=False):
                return self.draw(images)
        with observing(self.autoencoder):
            return torch.cat([self.autoencoder(batch) for batch in images.split(_BATCH)])

    def read(self, images: Float[Tensor, "n c s s"]) -> Reading:
        """What the classifier reads from images."""
        return read(self.classifier, images)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What results depend on besides the method: the models, and what is read."""
        case = self.case
        return {
            "case": [case.data, list(case.attributes), case.side],
            "read": [case.train, case.validation, case.test, case.collected],
            "models": [fingerprint(self.autoencoder), fingerprint(self.classifier)],
            "faces": [  # the models stand for the training data
                digest(part) for faces in (self.validation, self.test) for part in (faces.pixels, faces.attributes)
            ],
            "seed": self.seed,
            "device": self.device.type,
        }


def covered(before: Float[Tensor, "n c s s"], without: Float[Tensor, "n c s s"]) -> Bool[Tensor, "n s s"]:
    """The pixels that an attribute covers: where the drawing with it differs from the drawing without."""
    return (before - without).abs().amax(1) > 0.5 / 255
