"""One case with one seed: the autoencoder of all digits, the one retrained without a digit, and their images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.keys import key
from mnemotomy.data.examples import Examples
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.training.loop import Update
from mnemotomy.training.optimiser import Optimiser
from mnemotomy_bench.generative.cases import Case
from mnemotomy_bench.generative.observing import Seen, see
from mnemotomy_bench.lab.resources import Usage
from mnemotomy_bench.metrics.reconstruction import class_reconstruction_errors
from mnemotomy_bench.vision.examples import load_examples, some
from mnemotomy_bench.vision.fitting import fit
from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder

COLLECTING_BATCH = 128


class Subject:
    """The original and the retrained autoencoder of one seed, and the images that they are trained and read on.

    Args:
        case: what is trained and erased.
        seed: of both models: the same initialisation, the same order.
        cache_dir: where trained models are kept.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        DataError: the data does not have the digit to forget, or images of it.
    """

    def __init__(self, case: Case, seed: int, cache_dir: Path, data: Path | None = None) -> None:
        self.case, self.seed, self.cache_dir = case, seed, cache_dir
        self.kept: dict[object, object] = {}  # what methods compute once for all calls
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.train, self.class_names = load_examples(case.data, "train", data)
        test, _ = load_examples(case.data, "test", data)
        self.test = some(test, case.test_images)
        for number, name in enumerate(self.class_names):
            if not bool((self.train.labels == number).any() and (self.test.labels == number).any()):
                raise DataError(f"{case.data} has no images of {name} to train or to test with; every class needs some")
        if not 0 <= case.forget < self.classes:
            raise DataError(f"class {case.forget} is not in 0 … {self.classes - 1}; choose one that is")

    @property
    def classes(self) -> int:
        """How many digits there are."""
        return len(self.class_names)

    @cached_property
    def original(self) -> ConvAutoencoder:
        """Trained on all digits."""
        return self._trained(self.train)[0]

    @cached_property
    def retrained(self) -> ConvAutoencoder:
        """Trained on all digits but the one to forget."""
        return self._trained(self.others(self.case.forget))[0]

    @property
    def retraining(self) -> Usage:
        """The cost of retraining, when it was done."""
        return self._trained(self.others(self.case.forget))[1]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What results depend on besides the method: the models, and what is read of them."""
        case = self.case
        return {
            "case": [case.data, case.forget, case.batch_size, case.collected, case.read, case.test_images],
            "models": [fingerprint(self.original), fingerprint(self.retrained)],
            "test": [digest(self.test.inputs), digest(self.test.labels)],  # the models stand for the training data
            "seed": self.seed,
            "device": self.device.type,
        }

    @cached_property
    def atlas(self) -> Atlas:
        """The atlas of every digit at every layer, from one pass, factorised; a digit's reference is all the others."""
        atlas = self.collected_atlas()
        for site in atlas.sites:
            atlas.spectrum(site)
        return atlas

    def collected_atlas(self) -> Atlas:
        """A new atlas, not yet factorised."""
        batches = some(self.train, self.case.collected).to(self.device).batches(COLLECTING_BATCH)
        pairs = ((batch.inputs, batch.labels) for batch in batches)
        return Atlas(self.original, collect(self.original, pairs, concepts=lambda batch: batch[1], sites="all"))

    def own(self, digit: int) -> Examples:
        """The training images of a digit, ``X⁺``."""
        return self.train[self.train.labels == digit].to(self.device)

    def others(self, digit: int) -> Examples:
        """The training images of all other digits, ``X⁻``."""
        return self.train[self.train.labels != digit].to(self.device)

    def read_own(self, digit: int) -> Examples:
        """The training images of a digit that settings are chosen on."""
        return self._read[self._read.labels == digit].to(self.device)

    def read_others(self, digit: int) -> Examples:
        """The training images of the other digits that settings are chosen on."""
        return self._read[self._read.labels != digit].to(self.device)

    @cached_property
    def erased_at(self) -> Float[Tensor, " classes"]:
        """By digit, the error of the other digits' mean image, on training images of the digit.

        A network that knows only the average image does no better, so a digit with this error counts as erased.
        """
        read, labels = self._read.inputs, self._read.labels
        found = []
        for digit in range(self.classes):
            mean = self.train.inputs[self.train.labels != digit].mean(0, keepdim=True)
            found.append(class_reconstruction_errors(mean.expand_as(read), read, labels, self.classes)[digit])
        return torch.stack(found)

    @cached_property
    def before(self) -> Seen:
        """Observations of the original on the test images."""
        return see(self.original, self.test, self.classes)

    @cached_property
    def without(self) -> Seen:
        """Observations of the retrained model on the test images."""
        return see(self.retrained, self.test, self.classes)

    @cached_property
    def samples(self) -> Float[Tensor, "classes c h w"]:
        """The first test image of each digit, for pictures."""
        first = [int((self.test.labels == digit).nonzero()[0]) for digit in range(self.classes)]
        return self.test.inputs[first].to(self.device)

    @cached_property
    def _read(self) -> Examples:
        places = [(self.train.labels == digit).nonzero().flatten()[: self.case.read] for digit in range(self.classes)]
        return self.train[torch.cat(places)]

    def _trained(self, examples: Examples) -> tuple[ConvAutoencoder, Usage]:
        return train(self.case, self.seed, examples.to(self.device), self.cache_dir)


def train(case: Case, seed: int, examples: Examples, folder: Path) -> tuple[ConvAutoencoder, Usage]:
    """An autoencoder trained with Adam on the squared error (Appendix B.2), and the cost of training it.

    Args:
        case: its settings are used.
        seed: of the initialisation and of the order.
        examples: every epoch sees all of them.
        folder: where trained models are kept; they are reused.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ConvAutoencoder(examples.inputs.shape[-1], case.latent, examples.inputs.shape[1])
    model = model.to(examples.inputs.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=case.learning_rate)

    path = folder / f"{_key(case, seed, examples)}.safetensors"
    usage = fit(
        model,
        path,
        lambda _, generator: (Update([batch.inputs]) for batch in examples.batches(case.batch_size, generator)),
        lambda model, images: nn.functional.mse_loss(model(images), images),
        Optimiser(optimizer),
        epochs=case.epochs,
        seed=seed,
        name=f"{case.name}, seed {seed}",
    )
    return model, usage


def _key(case: Case, seed: int, examples: Examples) -> str:
    return key(case.latent, case.epochs, case.batch_size, case.learning_rate, seed, digest(examples.inputs))
