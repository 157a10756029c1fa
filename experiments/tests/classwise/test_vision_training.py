"""Networks for images, their recipes, and training that is resumed and not done twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, TrainingError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import accuracy, cross_entropy, logits
from mnemotomy.training.loop import Update
from mnemotomy.training.optimiser import Optimiser
from mnemotomy_bench.classwise.cases import CASES
from mnemotomy_bench.vision.augment import flipped, resized, shifted
from mnemotomy_bench.vision.fitting import fit
from mnemotomy_bench.vision.networks.build import NETWORKS, build_classifier
from mnemotomy_bench.vision.networks.normalise import Normalise
from mnemotomy_bench.vision.recipes import Recipe, recipe_for
from mnemotomy_bench.vision.training import train_classifier

CIFAR = (3, 32, 32)
BRIEF = Recipe("sgd", 0.05, 4, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def colours(count: int = 64) -> Examples:
    """Two classes: red and blue."""
    labels = torch.arange(count) % 2
    images = 0.2 * torch.rand(count, 3, 8, 8, generator=generator())
    images[labels == 0, 0] += 0.8
    images[labels == 1, 2] += 0.8
    return Examples(images, labels)


def parameters(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


# networks


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_tells_the_classes_apart_and_is_the_same_again(name):
    first, again = (build_classifier(name, "cifar10", CIFAR, 10, width=0.125, seed=3) for _ in range(2))
    assert logits(first.eval(), torch.rand(2, *CIFAR)).shape == (2, 10)
    assert fingerprint(first) == fingerprint(again)
    assert fingerprint(first) != fingerprint(build_classifier(name, "cifar10", CIFAR, 10, width=0.125, seed=4))


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_173_962), ("resnet50", 23_520_842)],  # the published CIFAR networks, batch norm included
)
def test_full_width_has_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        network = build_classifier(name, "other", CIFAR, 10)
    assert parameters(network) == count


def test_the_statistics_of_the_data_are_the_first_layer():
    network = build_classifier("resnet18", "cifar10", CIFAR, 10, width=0.125)
    first = next(module for module in network.modules() if isinstance(module, Normalise))
    images = torch.rand(2, *CIFAR)
    torch.testing.assert_close(first(images)[:, 1], (images[:, 1] - 0.4822) / 0.2435)
    assert not [name for name in network.state_dict() if "mean" in name and "running" not in name]


def test_unknown_networks_and_widths_are_refused():
    with pytest.raises(ConfigurationError, match="choose one of mlp, resnet18"):
        build_classifier("lenet", "cifar10", CIFAR, 10)
    with pytest.raises(ConfigurationError, match="width must be above 0"):
        build_classifier("mlp", "cifar10", CIFAR, 10, width=0.0)


# augmentation


def test_shifted_images_are_windows_of_the_mirrored_one():
    images = torch.rand(5, 3, 6, 6)
    around = nn.functional.pad(images, (2,) * 4, mode="reflect")
    found = shifted(images, 2, generator())
    for one, whole in zip(found, around, strict=True):
        windows = [whole[:, top : top + 6, left : left + 6] for top in range(5) for left in range(5)]
        assert any(torch.equal(one, window) for window in windows)
    assert len({tuple(one.flatten()[:3].tolist()) for one in found - images}) > 1
    assert shifted(images, 0, generator()) is images


def test_about_half_of_the_images_are_mirrored():
    images = torch.rand(400, 1, 2, 3)
    found = flipped(images, generator())
    mirrored = torch.tensor([torch.equal(one, image.flip(2)) for one, image in zip(found, images, strict=True)])
    kept = torch.tensor([torch.equal(one, image) for one, image in zip(found, images, strict=True)])
    assert bool((mirrored ^ kept).all())
    assert 160 < int(mirrored.sum()) < 240


def test_resizing_keeps_what_has_the_size():
    images = torch.rand(2, 3, 32, 32)
    assert resized(images, 32) is images
    assert resized(images, 20).shape == (2, 3, 20, 20)


# recipes


def test_images_grow_with_the_epochs():
    quick = CASES["cifar10-resnet18-quarter"].recipe
    assert quick is not None
    assert [quick.side(epoch / quick.epochs) for epoch in range(16)] == [20] * 5 + [24] * 5 + [32] * 6
    assert quick.whole_epochs(32) == pytest.approx((5 * 400 + 5 * 576 + 6 * 1024) / 1024)
    assert recipe_for("mlp", "mnist").side(0.5) is None
    assert recipe_for("mlp", "mnist").whole_epochs(28) == 10


def test_a_pair_without_a_recipe_is_refused():
    with pytest.raises(ConfigurationError, match="no recipe for vit on mnist"):
        recipe_for("vit", "mnist")


# training


@pytest.mark.parametrize(
    ("network", "optimizer", "rate"), [("resnet18", "sgd", 0.05), ("mlp", "adam", 0.01), ("mlp", "adamw", 0.01)]
)
def test_training_learns_and_is_not_done_twice(tmp_path, network, optimizer, rate):
    examples, path = colours(), tmp_path / "one.safetensors"
    recipe = replace(BRIEF, optimizer=optimizer, learning_rate=rate, epochs=16, padding=1)
    model = build_classifier(network, "other", (3, 8, 8), 2, width=0.125)
    usage = train_classifier(model, examples, recipe, seed=0, path=path)
    assert accuracy(model, examples) > 0.9
    assert usage.seconds > 0.0
    assert not model.training
    fresh = build_classifier(network, "other", (3, 8, 8), 2, width=0.125, seed=9)
    assert train_classifier(fresh, examples, recipe, seed=0, path=path).seconds == usage.seconds
    assert fingerprint(fresh) == fingerprint(model)


def test_the_seed_decides(tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        model = build_classifier("mlp", "other", (3, 8, 8), 2, width=0.05)
        train_classifier(model, colours(), BRIEF, seed=seed, path=tmp_path / f"{number}.safetensors")
        found.append(fingerprint(model))
    assert found[0] == found[1] != found[2]


def test_the_learning_rate_rises_and_falls_to_nothing(tmp_path, monkeypatch):
    rates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *a: rates.append(self.param_groups[0]["lr"]) or step(self)
    )
    model = build_classifier("mlp", "other", (3, 8, 8), 2, width=0.05)
    train_classifier(model, colours(), BRIEF, seed=0, path=tmp_path / "one.safetensors")
    assert len(rates) == 16
    assert rates[0] == pytest.approx(0.1 * 0.05)
    assert max(rates) == pytest.approx(0.05, rel=0.2)
    assert 0.0 < rates[-1] < 0.1 * 0.05


def test_an_unknown_optimiser_is_refused(tmp_path):
    model = build_classifier("mlp", "other", (3, 8, 8), 2, width=0.05)
    with pytest.raises(ConfigurationError, match="choose sgd, adam or adamw"):
        train_classifier(model, colours(), replace(BRIEF, optimizer="lion"), seed=0, path=tmp_path / "x.safetensors")


def counting(model, path, epochs=5, stop_before=None):
    """A training whose result tells every number that was drawn; it stops where it is told to."""

    def draw(epoch, generator):
        if epoch == stop_before:
            raise KeyboardInterrupt
        for _ in range(2):
            yield Update([torch.rand(1, generator=generator)])

    def loss(model, drawn):
        return (model.weight * (drawn + torch.rand(1))).sum()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return fit(model, path, draw, loss, Optimiser(optimizer, schedule), epochs=epochs, seed=1)


def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path):
    whole, broken = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    broken.load_state_dict(whole.state_dict())
    counting(whole, tmp_path / "whole.safetensors")
    path = tmp_path / "broken.safetensors"
    with pytest.raises(KeyboardInterrupt, match="resume from"):
        counting(broken, path, stop_before=3)
    assert path.with_suffix(".partial").exists()
    assert not path.is_file()
    again = nn.Linear(1, 1, bias=False)
    counting(again, path)
    assert torch.equal(again.weight, whole.weight)
    assert not path.with_suffix(".partial").exists()


def test_batch_statistics_survive_an_interruption(tmp_path):
    def trained(name, stop_before=None):
        model = build_classifier("resnet18", "other", (3, 8, 8), 2, width=0.125, seed=2)

        def draw(epoch, generator):
            if epoch == stop_before:
                raise KeyboardInterrupt
            for batch in colours().batches(16, generator):
                yield Update([batch])

        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        fit(model, tmp_path / name, draw, cross_entropy, Optimiser(optimizer), epochs=2, seed=1)
        return fingerprint(model)

    with pytest.raises(KeyboardInterrupt):
        trained("part.safetensors", stop_before=1)
    assert trained("part.safetensors") == trained("whole.safetensors")


def test_training_leaves_the_global_random_state_alone(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    counting(model, tmp_path / "one.safetensors", epochs=2)
    assert torch.equal(torch.rand(1), expected)


def test_a_training_that_diverges_is_an_error(tmp_path):
    model = nn.Linear(1, 1)
    optimiser = Optimiser(torch.optim.SGD(model.parameters(), lr=1e38))
    with pytest.raises(TrainingError, match=r"a parameter is not finite after epoch 1, .* choose a smaller"):
        fit(
            model, tmp_path / "one.safetensors", lambda *_: [Update([1e30])],
            lambda model, size: size * model.weight.sum(), optimiser, epochs=2, seed=0,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
