"""Images from folders of parquet files: splits, columns, sizes, attributes, and files that are not whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

datasets = pytest.importorskip("datasets", reason="datasets is not installed; it comes with the extra vision")
picture = pytest.importorskip("PIL.Image", reason="Pillow is not installed; it comes with the extra vision")

from mnemotomy.core.errors import DataError  # noqa: E402
from mnemotomy_bench.vision.images import Images, centres, data_folder, load_attributes, load_images, normalise  # noqa: E402


def coloured(seed: int, width: int = 6, height: int = 6):
    random = np.random.default_rng(seed)
    return picture.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(path, images, label=None, **columns):
    """A parquet file as the hub has it: an image column, classes with names, other columns."""
    features = {"image": datasets.Image()}
    rows = {"image": images}
    if label is not None:
        rows["label"], features["label"] = label, datasets.ClassLabel(names=["cat", "dog", "owl"])
    for name, values in columns.items():
        rows[name] = values
        features[name] = datasets.Value("bool" if isinstance(values[0], bool) else "int64")
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(path)


def write_raw(path, **columns):
    """A parquet file of whatever is given."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


def png(image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.parquet", [coloured(seed) for seed in range(5)], [0, 1, 2, 1, 0])
    write(tmp_path / "test.parquet", [coloured(9)], [2])
    return tmp_path


def test_a_folder_of_parquet_files(folder):
    images = load_images(folder, "train")
    assert images.inputs.shape == (5, 3, 6, 6)
    assert images.inputs.dtype == torch.uint8
    assert images.labels.tolist() == [0, 1, 2, 1, 0]
    assert images.class_names == ("cat", "dog", "owl")
    assert np.array_equal(images.inputs[3].numpy().transpose(1, 2, 0), np.asarray(coloured(3)))
    assert len(load_images(str(folder), "test")) == 1


def test_parts_of_a_split(folder):
    assert load_images(folder, "train[:2]").labels.tolist() == [0, 1]
    assert load_images(folder, "train[40%:]").labels.tolist() == [2, 1, 0]
    with pytest.raises(DataError, match="is not a part of a split"):
        load_images(folder, "train[:2")
    with pytest.raises(DataError, match="has no rows"):
        load_images(folder, "train[5:]")


def test_several_files_of_one_split_in_order(tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"train-0000{number}-of-00003.parquet", [coloured(number)] * 2, [number] * 2)
    assert load_images(tmp_path, "train").labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert load_images(tmp_path, "train[1:5]").labels.tolist() == [0, 1, 1, 2]


def test_a_changed_file_is_read_again(folder):
    assert len(load_images(folder, "test")) == 1
    write(folder / "test.parquet", [coloured(1), coloured(2)], [0, 0])
    assert len(load_images(folder, "test")) == 2


def test_a_missing_split_says_what_is_there(folder):
    with pytest.raises(DataError, match=r"no valid\.parquet.*it has test\.parquet, train\.parquet"):
        load_images(folder, "valid")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no parquet file at all"):
        load_images(folder / "empty", "train")
    with pytest.raises(DataError, match="does not exist"):
        load_images(folder / "nowhere", "train")


def test_labels_out_of_range(tmp_path):
    bytes_of = [png(coloured(seed)) for seed in range(2)]
    write_raw(tmp_path / "train.parquet", image=bytes_of, label=[0, -1])
    with pytest.raises(DataError, match="label -1; the classes are 0 to 0"):
        load_images(tmp_path, "train")
    write_raw(tmp_path / "test.parquet", image=bytes_of, label=["cat", "dog"])
    with pytest.raises(DataError, match="holds 'cat'; labels must be whole numbers"):
        load_images(tmp_path, "test")


def test_labels_that_number_the_rows(tmp_path):
    write_raw(tmp_path / "train.parquet", image=[png(coloured(0))] * 2, label=[0, 2**62])
    with pytest.raises(DataError, match=r"holds the label 4611686018427387904, but .* label_column="):
        load_images(tmp_path, "train")


def test_photographs_are_upright(tmp_path):
    lying, buffer = coloured(0, width=8, height=4), io.BytesIO()
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(buffer, "PNG", exif=exif)
    write_raw(tmp_path / "train.parquet", image=[buffer.getvalue()], label=[0])
    upright = load_images(tmp_path, "train").inputs[0].numpy().transpose(1, 2, 0)
    features = datasets.Features(image=datasets.Image())
    read = datasets.Dataset.from_dict({"image": [{"bytes": buffer.getvalue(), "path": None}]}, features=features)
    assert np.array_equal(upright, np.asarray(read[0]["image"]))
    assert upright.shape == (8, 4, 3)


def test_a_label_beyond_the_named_classes(tmp_path):
    from pyarrow import parquet

    write(tmp_path / "train.parquet", [coloured(0), coloured(1)], [0, 2])
    table = parquet.read_table(tmp_path / "train.parquet")
    wrong = table.set_column(1, table.schema.field("label"), [[0, 3]])  # the schema names three classes
    parquet.write_table(wrong, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="the label 3; the classes are 0 to 2"):
        load_images(tmp_path, "train")


def test_images_of_mixed_size(tmp_path):
    write(tmp_path / "train.parquet", [coloured(0, 6, 6), coloured(1, 8, 6)], [0, 1])
    with pytest.raises(DataError, match=r"mixed size \(6×6, 6×8\); give size="):
        load_images(tmp_path, "train")
    assert load_images(tmp_path, "train", size=4).inputs.shape == (2, 3, 4, 4)


def test_the_centre_is_cut_out_and_scaled(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    write(tmp_path / "train.parquet", [picture.fromarray(wide)], [0])
    (image,) = load_images(tmp_path, "train", size=5).inputs
    assert image.shape == (3, 5, 5)
    assert image[:, :, 1:4].min() > 150  # the bright square in the middle


def test_grey_images_beside_coloured_ones(tmp_path):
    grey = coloured(1).convert("L")
    write(tmp_path / "train.parquet", [grey, grey], [0, 1])
    write(tmp_path / "test.parquet", [grey, coloured(2)], [0, 1])
    assert load_images(tmp_path, "train").inputs.shape == (2, 1, 6, 6)
    images = load_images(tmp_path, "test").inputs
    assert images.shape == (2, 3, 6, 6)
    assert torch.equal(images[0, 0], images[0, 2])


def test_a_truncated_parquet_file(folder):
    file = folder / "train.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train\.parquet is not a complete parquet file"):
        load_images(folder, "train")
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"train\.parquet is not a complete parquet file"):
        load_images(folder, "train")


def test_a_damaged_image_is_named_by_its_row(tmp_path):
    whole = png(coloured(0, 40, 40))
    write_raw(tmp_path / "train.parquet", image=[whole, whole[: len(whole) // 2]], label=[0, 1])
    with pytest.raises(DataError, match="row 1: damaged image"):
        load_images(tmp_path, "train")
    write_raw(tmp_path / "test.parquet", image=[None, whole], label=[0, 1])
    with pytest.raises(DataError, match="row 0: no image"):
        load_images(tmp_path, "test")


def test_columns_are_found_or_named(folder):
    with pytest.raises(DataError, match="no column 'picture'; choose one of 'image', 'label'"):
        load_images(folder, "train", image_column="picture")
    with pytest.raises(DataError, match="label_column: there is no column 'kind'"):
        load_images(folder, "train", label_column="kind")


def test_attributes_as_celeba_has_them(tmp_path):
    write(
        tmp_path / "train.parquet", [coloured(seed, 12, 16) for seed in range(3)],
        Eyeglasses=[True, False, True], Bangs=[-1, 1, 1], identity=[0, 5, 7],
    )  # fmt: skip
    images = load_attributes(tmp_path, "train", ["Bangs", "Eyeglasses"], size=8)
    assert images.inputs.shape == (3, 3, 8, 8)
    assert images.class_names == ("Bangs", "Eyeglasses")
    assert images.labels.tolist() == [[False, True], [True, False], [True, True]]
    assert load_attributes(tmp_path, "train", size=8).class_names == ("Eyeglasses", "Bangs", "identity")
    with pytest.raises(DataError, match=r"no column of truth values Goatee; the columns are"):
        load_attributes(tmp_path, "train", ["Goatee"])


def test_an_attribute_without_a_value(tmp_path):
    write_raw(tmp_path / "train.parquet", image=[png(coloured(0))] * 2, Hat=[1, None])
    with pytest.raises(DataError, match="without a value; every row needs all of Hat"):
        load_attributes(tmp_path, "train", ["Hat"])


def test_classes_of_images():
    images = Images(
        torch.arange(4, dtype=torch.uint8)[:, None, None, None], torch.tensor([0, 1, 2, 1]), ("a", "b", "c")
    )
    assert images.of_classes([1]).inputs.flatten().tolist() == [1, 3]
    assert len(images.where(torch.tensor([2]))) == 1


def test_normalisation_by_channel():
    pixels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8)[..., None, None]  # two images of two channels
    found = normalise(pixels, (0.0, 0.2), (1.0, 0.4)).squeeze()
    torch.testing.assert_close(found, torch.tensor([[0.0, 2.0], [0.2, 0.5]]))
    with pytest.raises(DataError, match="2 channels need as many means"):
        normalise(pixels, (0.0,), (1.0,))


def test_the_digits_are_always_there():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")
    images = load_images("digits", "test", size=16)
    assert images.inputs.shape[1:] == (1, 16, 16)
    assert images.inputs.max() > 200
    with pytest.raises(DataError, match="no split 'valid'; choose train or test"):
        load_images("digits", "valid")


def test_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MNEMOTOMY_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    assert data_folder("mnist") == tmp_path / "mnist"
    with pytest.raises(DataError, match=r"there is no .*cifar10"):
        data_folder("cifar10")
    monkeypatch.delenv("MNEMOTOMY_DATA")
    with pytest.raises(DataError, match="set MNEMOTOMY_DATA"):
        data_folder("mnist")


def test_a_folder_with_the_name_of_a_split(tmp_path):
    write(tmp_path / "test" / "train.parquet", [coloured(0)] * 2, [0, 1])
    write(tmp_path / "test" / "test.parquet", [coloured(1)], [2])
    assert load_images(tmp_path / "test", "test").labels.tolist() == [2]
    assert load_images(tmp_path / "test", "train").labels.tolist() == [0, 1]
    write(tmp_path / "test" / "validation" / "0000.parquet", [coloured(2)], [1])
    assert load_images(tmp_path / "test", "validation").labels.tolist() == [1]


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_images_of_16_bits_are_scaled_to_8(tmp_path, order):
    values = np.array([[0, 128, 257], [1000, 32896, 65535]], order)
    whole = io.BytesIO()
    picture.fromarray(values).save(whole, "TIFF")
    write_raw(tmp_path / "train.parquet", image=[whole.getvalue()], label=[0])
    assert load_images(tmp_path, "train").inputs.tolist() == [[[[0, 0, 1], [4, 128, 255]]]]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_images_without_a_known_range_are_refused(tmp_path, kind):
    odd = io.BytesIO()
    picture.fromarray(np.zeros((2, 2), kind)).save(odd, "TIFF")
    write_raw(tmp_path / "train.parquet", image=[png(coloured(0)), odd.getvalue()], label=[0, 1])
    with pytest.raises(
        DataError, match=r"row 1: pixels of mode '[IF]' have no known range; save the images with 8 bits"
    ):
        load_images(tmp_path, "train")


@pytest.mark.parametrize("missing", ["image", "label"])
def test_a_file_that_lacks_a_column_of_the_others(tmp_path, missing):
    columns = {"image": [png(coloured(0))], "label": [0]}
    write_raw(tmp_path / "train-0.parquet", **columns)
    write_raw(tmp_path / "train-1.parquet", **{name: rows for name, rows in columns.items() if name != missing}, n=[1])
    with pytest.raises(DataError, match=rf"train-1\.parquet lacks the column '{missing}' of the files before it"):
        load_images(tmp_path, "train")


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(folder, size):
    for source in (folder, "digits"):
        with pytest.raises(DataError, match=f"cannot have {size} pixels a side; give size= as 1 or more"):
            load_images(source, "train", size=size)
    with pytest.raises(DataError, match="1 or more"):
        load_attributes(folder, "train", ["label"], size=size)


def test_the_digest_tells_pictures_and_labels_apart():
    inputs, labels = torch.arange(600 * 3, dtype=torch.uint8).reshape(600, 1, 1, 3), torch.zeros(600, dtype=torch.long)
    images = Images(inputs, labels, ("a", "b"))
    assert images.digest() == Images(inputs.clone(), labels.clone(), ("a", "b")).digest()
    assert images.where(torch.arange(599)).digest() != images.digest()
    for place in (0, 599):
        other = Images(inputs.clone(), labels.clone(), ("a", "b"))
        other.inputs[place] += 1
        assert other.digest() != images.digest()
        relabelled = Images(inputs, labels.clone(), ("a", "b"))
        relabelled.labels[place] = 1
        assert relabelled.digest() != images.digest()
    view = Images(centres(inputs.expand(-1, 3, -1, -1), 1), labels, ("a", "b"))
    assert view.inputs.flatten(1)[1].tolist() == [4, 4, 4]
    assert view.digest() == Images(view.inputs.contiguous(), labels, ("a", "b")).digest()
