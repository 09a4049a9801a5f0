"""The assertion passes and fails by the distance, and leaves a map."""

import numpy
import pytest
from PIL import Image

import lpips_eval
from lpips_eval.testing import assert_perceptually_close


@pytest.fixture
def images(files):
    return [numpy.asarray(Image.open(path).convert("RGB")) for path in files[0]]


def test_close_images_pass(images, scorer, tmp_path):
    ref, dist = images
    limit = scorer.score(ref, dist).total
    assert_perceptually_close(dist, ref, lpips=limit, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_map_is_left_beside_the_failure(images, scorer, tmp_path, monkeypatch):
    ref, _ = images
    patched = ref.copy()
    patched[40:60, 20:40] = 255 - patched[40:60, 20:40]
    monkeypatch.setenv("LPIPS_FAILURES_DIR", str(tmp_path / "maps"))
    for name in ["", "-2"]:
        with pytest.raises(AssertionError, match=r"LPIPS \(alex\) is 0.\d+, above the limit 0.001") as error:
            assert_perceptually_close(patched, ref, lpips=0.001)
        stem = f"python-tests-test_testing.py-test_a_map_is_left_beside_the_failure{name}.map"
        stem = stem if (tmp_path / "maps" / f"{stem}.png").exists() else stem.removeprefix("python-")
        picture = tmp_path / "maps" / f"{stem}.png"
        assert str(picture) in str(error.value)
        map = numpy.load(picture.with_suffix(".npy"))
        assert map.shape == ref.shape[:2]
        row, column = divmod(int(map.argmax()), map.shape[1])
        assert 30 <= row < 70 and 10 <= column < 50
        grey = numpy.asarray(Image.open(picture))
        assert grey.shape == map.shape and grey[row, column] == 255


def test_images_that_cannot_be_compared_are_errors(images, tmp_path):
    ref, dist = images
    with pytest.raises(lpips_eval.SizeError):
        assert_perceptually_close(dist[:40], ref, lpips=1, folder=tmp_path)
    with pytest.raises(lpips_eval.RangeError):
        assert_perceptually_close(dist / 255, ref, lpips=1, folder=tmp_path)
