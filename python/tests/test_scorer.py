"""Every form of an image gives the bits of the command."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import numpy
import pytest
from PIL import Image

import lpips_eval
from conftest import SR


def arrays(files):
    read = {path: numpy.asarray(Image.open(path).convert("RGB")) for pair in files for path in pair}
    return [(read[ref], read[dist]) for ref, dist in files]


class Tensor:
    """An array that is described by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnGpu:
    """An array in the memory of a GPU, which the CPU cannot read."""

    def __init__(self, array, method):
        self.copies = 0

        def copy(*_):
            self.copies += 1
            return array

        setattr(self, method, copy)

    def __dlpack__(self):
        raise AssertionError("memory of a GPU is not read")

    def __dlpack_device__(self):
        return (2, 0)


class JaxOnGpu(OnGpu):
    def __array__(self, dtype=None, copy=None):
        return self.copy()


def strided(array):
    """The same pixels, channels first in memory."""
    return numpy.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0)


@pytest.mark.parametrize(
    "form",
    [
        lambda array: array,
        lambda array: Tensor(array.copy()),
        lambda array: Tensor(strided(array)),
        strided,
        lambda array: numpy.flip(numpy.flip(array, 1).copy(), 1),
        Image.fromarray,
        lambda array: Image.fromarray(numpy.dstack([array, array[..., :1]]), "RGBA"),
    ],
    ids=["numpy", "dlpack", "dlpack-strided", "strided", "negative-strides", "pil", "pil-alpha"],
)
def test_bytes_are_scored_as_files(form, scorer, files, expect_rows):
    pairs = ((form(ref), form(dist)) for ref, dist in arrays(files))
    expect_rows(scorer.score_all(pairs))


@pytest.mark.parametrize(("kind", "method"), [(OnGpu, "cpu"), (OnGpu, "get"), (JaxOnGpu, "copy")])
def test_arrays_on_a_gpu_are_copied_by_their_library(kind, method, scorer, files):
    (ref, dist), *_ = arrays(files)
    on_gpu = kind(ref, method)
    scores = scorer.score_all([(on_gpu, dist), (on_gpu, on_gpu), (on_gpu, ref)])
    assert [score.total for score in scores] == [scorer.score(ref, dist).total, 0, 0]
    assert on_gpu.copies == 3
    with pytest.raises(lpips_eval.UsageError, match="CUDA device 0"):
        scorer.score(OnGpu(ref, "nothing"), dist)


def test_memory_that_is_written_anew_is_another_image(scorer, files):
    """A generator may render into one array."""
    (ref, dist), *_ = arrays(files)
    rendered = numpy.zeros_like(ref)

    def pairs():
        for image in (dist, ref, dist):
            rendered[:] = image
            yield ref, rendered

    totals = [score.total for score in scorer.score_all(pairs())]
    assert totals == [scorer.score(ref, image).total for image in (dist, ref, dist)]
    assert totals[0] > totals[1] == 0


def test_files(scorer, files, expect_rows):
    expect_rows(scorer.score_files(files))
    expect_rows([scorer.score(str(ref), dist) for ref, dist in files])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint16"])
def test_arrays_are_scored_as_files_of_arrays(dtype, scorer, tmp_path, files):
    (ref, dist), *_ = arrays(files)
    scale = {"uint16": 257}.get(dtype, 1 / 255)
    ref, dist = ((image * numpy.float64(scale)).astype(dtype) for image in (ref, dist))
    for name, image in [("ref.npy", ref), ("dist.npy", dist)]:
        numpy.save(tmp_path / name, image)
    paths = (tmp_path / "ref.npy", tmp_path / "dist.npy")
    for range in [(0, 1), (-1, 1)]:
        in_files = scorer.score(*paths, range=range)
        in_memory = scorer.score(ref, dist, range=range)
        assert (in_memory.total, in_memory.layers) == (in_files.total, in_files.layers)


def test_ranges_agree(scorer, files):
    for ref, dist in arrays(files)[:3]:
        unit = [image.astype("float32") / 255 for image in (ref, dist)]
        signed = [2 * image - 1 for image in unit]
        bytes_ = scorer.score(ref, dist).total
        assert scorer.score(*unit, range=(0, 1)).total == bytes_
        assert scorer.score(*signed, range=(-1, 1)).total == pytest.approx(bytes_, rel=1e-5)
        assert scorer.score(signed[0], dist, range=(-1, 1)).total == scorer.score(*signed, (-1, 1)).total


def test_contiguous_arrays_are_borrowed(scorer):
    """While the second pair is made, the first is in a batch: borrowed, or copied and forgotten."""

    def is_held(layout):
        held = []

        def pairs():
            image = numpy.zeros((32, 32, 3), "uint8")
            first = layout(image)
            alive = weakref.ref(image)
            yield first, first
            del first, image
            held.append(alive() is not None)

        scorer.score_all(pairs())
        gc.collect()
        return held[0]

    assert is_held(lambda image: image[:])
    assert not is_held(lambda image: image[:, ::-1])


def test_maps(files):
    scorer = lpips_eval.Scorer(device="cpu", spatial=True)
    (ref, dist), *_ = arrays(files)
    score = scorer.score(ref, dist)
    assert score.map.shape == ref.shape[:2] and score.map.dtype == numpy.float32
    assert score.map.mean() == pytest.approx(score.total, rel=0.1)
    assert not scorer.score(ref, ref).map.any()
    layers = score.layer_maps_in_pixels()
    assert [layer.shape for layer in layers] == [score.map.shape] * 5
    assert numpy.allclose(sum(layers), score.map, rtol=1e-5, atol=1e-7)
    means = [layer.mean(dtype="float64") for layer in score.layer_maps]
    assert means == pytest.approx(score.layers, rel=1e-6)


def test_a_score_is_a_number(scorer, files):
    score = scorer.score(*files[0])
    assert float(score) == score.total == pytest.approx(sum(score.layers))
    assert score.map is None and not score.rescored
    assert score.layer_maps == () and score.layer_maps_in_pixels() == []
    assert repr(score) == f"Score({score.total:.9g})"
    assert scorer.signature.startswith("lpips|net:alex|") and scorer.device.startswith("CPU")


GREY = numpy.full((64, 48, 3), 128, "uint8")


@pytest.mark.parametrize(
    ("ref", "dist", "range", "kind", "said"),
    [
        (GREY.astype("int64"), GREY, None, lpips_eval.DtypeError, "the reference.*<i8.*uint8"),
        (GREY, Tensor(GREY.astype("int32")), None, lpips_eval.DtypeError, "distorted image.*tensor"),
        (None, GREY, None, lpips_eval.DtypeError, "NoneType"),
        (GREY, Image.new("I", (48, 64)), None, lpips_eval.DtypeError, "mode 'I'"),
        (GREY.transpose(2, 0, 1), GREY, None, lpips_eval.ShapeError, r"\[3, 64, 48\].*\n.*permute"),
        (GREY, GREY[None], None, lpips_eval.ShapeError, r"\[1, 64, 48, 3\].*\n.*score_all"),
        (GREY, GREY[..., 0], None, lpips_eval.ShapeError, r"\[64, 48\].*\n.*dstack"),
        (GREY / 255, GREY, None, lpips_eval.RangeError, r"float64.*not stated\n.*range=\(0, 1\)"),
        (GREY / 1.0, GREY, (0, 1), lpips_eval.RangeError, "128, outside of 0..1"),
        (GREY / 128 - 2, GREY, (0, 1), lpips_eval.RangeError, "-1, outside of 0..1"),
        (GREY, GREY, (0, 255), lpips_eval.UsageError, r"range=\(0, 255\)"),
        (GREY, GREY[:40], None, lpips_eval.SizeError, "48x64.*48x40"),
        (GREY[:8], GREY[:8], None, lpips_eval.SizeError, "48x8"),
        ("gone.png", GREY, None, lpips_eval.PairError, "gone.png"),
    ],
)
def test_what_is_no_pair_is_refused(ref, dist, range, kind, said, scorer):
    with pytest.raises(kind, match=said) as caught:
        scorer.score(ref, dist, range)
    assert type(caught.value) is kind and caught.value.hint
    # It scores on.
    assert scorer.score(GREY, GREY).total == 0


@pytest.mark.parametrize(
    "options",
    [{"net": "resnet"}, {"device": "tpu"}, {"precision": "fp8"}, {"threads": 0}, {"preset": "kair:4"},
     {"precision": "fp16", "device": "cpu"}],
)  # fmt: skip
def test_unknown_options_are_refused(options):
    with pytest.raises(lpips_eval.UsageError) as caught:
        lpips_eval.Scorer(**options)
    assert str(list(options.values())[0]) in str(caught.value)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(lpips_eval.WeightsError, match="hint: "):
        lpips_eval.Scorer("vgg", device="cpu", weights_dir=tmp_path)


def test_failed_pairs_are_returned_in_their_place(scorer, files):
    good = files[0]
    pairs = [good, (good[0], SR / "gone.png"), good]
    for score in (scorer.score_all, scorer.score_files):
        first, failed, last = score(pairs, on_error="return")
        assert first.total == last.total > 0
        assert isinstance(failed, lpips_eval.PairError) and failed.code == "E_MISSING"
        with pytest.raises(lpips_eval.PairError, match="gone.png") as caught:
            score(pairs)
        assert caught.value.index == 1


def test_an_iterator_that_fails_ends_the_call(scorer):
    def pairs():
        yield GREY, GREY
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        scorer.score_all(pairs())
    assert scorer.score(GREY, GREY).total == 0


def test_read_only_arrays(scorer):
    frozen = GREY.copy()
    frozen.flags.writeable = False
    assert scorer.score(frozen, GREY).total == 0


def test_the_lock_is_released(scorer):
    """With a switch interval this long, another thread runs only while the lock is released."""
    interval = sys.getswitchinterval()
    go, ran = threading.Event(), []
    thread = threading.Thread(target=lambda: (go.wait(), ran.append(True)))
    thread.start()
    sys.setswitchinterval(3600)
    try:
        go.set()
        for _ in range(200):
            scorer.score(GREY, 255 - GREY)
            if ran:
                break
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert ran


def test_threads_take_turns(scorer, files, expect_rows):
    found = {}

    def work(name):
        found[name] = scorer.score_all(arrays(files))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scores in found.values():
        expect_rows(scores)


INTERRUPTED = """
import itertools, numpy, lpips_eval
scorer = lpips_eval.Scorer(device="cpu", threads=1)
grey = numpy.full((64, 64, 3), 128, "uint8")
def pairs():
    for number in itertools.count():
        if number == 50:
            print("ready", flush=True)
        yield grey, grey // 2
try:
    scorer.score_all(pairs())
except KeyboardInterrupt:
    print("interrupted", scorer.score(grey, grey).total)
"""


def test_ctrl_c_stops_a_call():
    line = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted 0.0\n"
    assert process.returncode == 0


def memory():
    """Bytes that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_calls_leak_nothing():
    scorer = lpips_eval.Scorer(device="cpu", threads=1, spatial=True)
    ref = numpy.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    forms = [ref, ref[::-1], Image.fromarray(ref), Tensor(ref.copy()), str(SR / "hr" / "astronaut.png")]
    before = sys.getrefcount(ref)

    def call(times):
        for number in range(times):
            dist = forms[number % 4]
            scorer.score(ref, dist)
            with pytest.raises(lpips_eval.PairError):
                scorer.score(ref, "gone.png")
        gc.collect()

    call(100)
    held = memory()
    call(1000)
    # An image is 3 kB and a map 4 kB: a leak of one of them is more.
    assert memory() - held < 2 << 20
    assert sys.getrefcount(ref) == before


def test_a_fork_is_refused(scorer):
    child = os.fork()
    if child == 0:
        try:
            scorer.score(GREY, GREY)
        except lpips_eval.DeviceError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_scorer_can_be_sent_to_another_process(scorer):
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy.signature == scorer.signature
    error = pickle.loads(pickle.dumps(lpips_eval.SizeError("message", "hint", "E_SIZE")))
    assert (error.code, error.hint, str(error)) == ("E_SIZE", "hint", "message\nhint: hint")
