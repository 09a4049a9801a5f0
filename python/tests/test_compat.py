"""`compat.LPIPS` has the shapes of `lpips.LPIPS`, and the values of `Scorer`."""

import numpy
import pytest
from PIL import Image

import lpips_eval
from lpips_eval.compat import LPIPS

LOSS = LPIPS(net="alex", verbose=False, device="cpu")


def batch(files, which):
    """(N, 3, height, width), from -1 to 1."""
    images = [numpy.asarray(Image.open(pair[which]).convert("RGB")) for pair in files]
    return numpy.stack(images).transpose(0, 3, 1, 2).astype("float32") / 127.5 - 1


@pytest.fixture
def batches(files):
    first = Image.open(files[0][0]).size
    same = [pair for pair in files if Image.open(pair[0]).size == first][:3]
    return batch(same, 0), batch(same, 1)


def test_shapes_and_values(batches, scorer):
    refs, dists = batches
    distance = LOSS(refs, dists)
    assert distance.shape == (len(refs), 1, 1, 1) and distance.dtype == numpy.float32
    images = zip(refs.transpose(0, 2, 3, 1), dists.transpose(0, 2, 3, 1))
    scores = scorer.score_all(images, range=(-1, 1))
    assert (distance.ravel() == numpy.float32([score.total for score in scores])).all()
    assert (LOSS.forward(refs, dists) == distance).all()


def test_normalize(batches):
    refs, dists = batches
    found = LOSS((refs + 1) / 2, (dists + 1) / 2, normalize=True)
    assert numpy.allclose(found, LOSS(refs, dists), rtol=1e-4)


def test_layers(batches):
    total, layers = LOSS(*batches, retPerLayer=True)
    assert [layer.shape for layer in layers] == [total.shape] * 5
    assert numpy.allclose(sum(layers), total, rtol=1e-6)


def test_maps(batches):
    refs, dists = batches
    spatial = LPIPS(spatial=True, device="cpu")
    maps = spatial(refs, dists)
    assert maps.shape == (len(refs), 1, *refs.shape[2:]) and maps.dtype == numpy.float32
    again, layers = spatial(refs, dists, retPerLayer=True)
    assert (again == maps).all()
    assert [layer.shape for layer in layers] == [maps.shape] * 5
    assert numpy.allclose(sum(layers), maps, rtol=1e-5, atol=1e-7)
    # The first layer has fewer positions than pixels, and each is another.
    assert all((layer != maps).any() and layer.min() >= 0 for layer in layers)


def test_one_image_is_compared_with_each(batches):
    refs, dists = batches
    found = LOSS(refs[:1], dists)
    expected = [LOSS(refs[:1], dists[at : at + 1]).item() for at in range(len(dists))]
    assert found.ravel().tolist() == expected


@pytest.mark.parametrize(
    ("in0", "in1", "said"),
    [
        (numpy.zeros((1, 64, 64, 3), "float32"), numpy.zeros((1, 3, 64, 64), "float32"), "in0.*N, 3"),
        (numpy.zeros((2, 3, 64, 64), "float32"), numpy.zeros((3, 3, 64, 64), "float32"), "2 images.*3"),
    ],
)
def test_other_shapes_are_refused(in0, in1, said):
    with pytest.raises(lpips_eval.ShapeError, match=said):
        LOSS(in0, in1)


def test_samples_outside_of_the_range_are_refused(batches):
    with pytest.raises(lpips_eval.RangeError, match="--range=-1..1"):
        LOSS(*batches, normalize=True)


def test_training_is_refused():
    with pytest.raises(lpips_eval.UsageError, match="pnet_tune=True is for training"):
        LPIPS(pnet_tune=True)


def test_other_settings_are_those_of_the_scorer(batches):
    refs, dists = batches
    baseline = LPIPS(lpips=False, version="0.0", device="cpu")(refs, dists)
    scorer = lpips_eval.Scorer(baseline=True, version="0.0", device="cpu")
    first = (refs[0].transpose(1, 2, 0), dists[0].transpose(1, 2, 0))
    assert baseline.ravel()[0] == numpy.float32(scorer.score(*first, range=(-1, 1)).total)
    assert LPIPS(device="cpu").eval().cpu().to("cpu")(refs, refs).sum() == 0
