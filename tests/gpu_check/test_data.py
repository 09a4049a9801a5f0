"""Tables, weights and photographs: everything that is data."""

import hashlib
import random
import tempfile
import unittest
from pathlib import Path

import support
from gpucheck import nets, photos, png, weights

SR = support.ROOT / "tests/data/sr"


class Nets(unittest.TestCase):
    """The three trunks."""

    def test_taps_have_the_channels_of_the_published_metric(self) -> None:
        self.assertEqual(nets.tap_channels("alex"), [64, 192, 384, 256, 256])
        self.assertEqual(nets.tap_channels("vgg"), [64, 128, 256, 512, 512])
        self.assertEqual(nets.tap_channels("squeeze"), [64, 128, 256, 384, 384, 512, 512])

    def test_names_and_shapes_are_those_of_the_committed_weights(self) -> None:
        tensors = weights.read(support.ROOT / "weights/alex.safetensors")
        for conv, c_in in nets.convolutions("alex"):
            shape = [conv.c_out, c_in, conv.kernel, conv.kernel]
            self.assertEqual(tensors.pop(f"{conv.name}.weight")[0], shape)
            self.assertEqual(tensors.pop(f"{conv.name}.bias")[0], [conv.c_out])
        self.assertEqual(tensors, {})
        indices = [int(conv.name.split(".")[1]) for conv, _ in nets.convolutions("vgg")]
        self.assertEqual(indices, [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28])

    def test_operations_of_a_pair(self) -> None:
        # vgg's first two convolutions at 16x16 by hand: 2 images, 2 operations a multiply-add.
        first = 4 * 64 * 16 * 16 * 9 * (3 + 64)
        self.assertGreater(nets.cost("vgg", 16, 16).flops, first)
        # 256x256, as the literature counts: 3.47, 80.2 and 1.39 GFLOP a pair.
        for net, giga in (("alex", 3.474), ("vgg", 80.178), ("squeeze", 1.388)):
            self.assertAlmostEqual(nets.cost(net, 256, 256).flops / 1e9, giga, places=3)

    def test_operations_and_bytes_of_a_small_trunk_by_hand(self) -> None:
        nets.NETS["toy"] = [nets.Conv("a", 4, 3, 1, 1), nets.Tap(), nets.Pool(2), nets.Conv("b", 2, 1)]
        self.addCleanup(nets.NETS.pop, "toy")
        cost = nets.cost("toy", 8, 8)
        self.assertEqual(cost.flops, 2 * (2 * 4 * 64 * 3 * 9 + 2 * 2 * 16 * 4))
        read_and_written = (3 + 4) * 64 + 4 * 64 + (4 * 64 + 4 * 16) + (4 + 2) * 16
        self.assertEqual(cost.elements, 2 * read_and_written)

    def test_pooling_rounds_as_pytorch_does(self) -> None:
        sides = range(3, 12)
        self.assertEqual([nets.pooled(n, nets.Pool(3)) for n in sides], [1, 1, 2, 2, 3, 3, 4, 4, 5])
        self.assertEqual([nets.pooled(n, nets.Pool(3, True)) for n in sides], [1, 2, 2, 3, 3, 4, 4, 5, 5])
        self.assertEqual(nets.pooled(2, nets.Pool(3, True)), 1)


class Weights(unittest.TestCase):
    """Reading, writing, joining, and the formula."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_what_is_written_is_read_back(self) -> None:
        tensors = weights.formula("squeeze")
        weights.write(self.folder / "a.safetensors", tensors)
        self.assertEqual(weights.read(self.folder / "a.safetensors"), tensors)

    def test_a_committed_file_is_written_back_byte_for_byte(self) -> None:
        committed = support.ROOT / "weights/lin.safetensors"
        weights.write(self.folder / "lin.safetensors", weights.read(committed))
        self.assertEqual((self.folder / "lin.safetensors").read_bytes(), committed.read_bytes())

    def test_what_is_no_safetensors_file_is_refused(self) -> None:
        for data in (b"", b"\x80\x02pickle", b"\x10" + b"\0" * 30):
            path = self.folder / "bad.safetensors"
            path.write_bytes(data)
            with self.assertRaisesRegex(ValueError, "bad.safetensors"):
                weights.read(path)

    def test_the_formula_is_the_documented_one(self) -> None:
        trunk = weights.formula("squeeze")
        shape, values = trunk["features.0.weight"]
        self.assertEqual(shape, [64, 3, 3, 3])
        phase = (0.6180339887498949 + 0.7548776662466927) % 1.0
        self.assertAlmostEqual(values[0], (2 * phase - 1) * (6 / 27) ** 0.5, places=7)
        # Tensor 50 is the last bias of 25 convolutions; its element 3.
        phase = (3 * 0.6180339887498949 + 50 * 0.7548776662466927) % 1.0
        self.assertAlmostEqual(trunk["features.12.expand3x3.bias"][1][2], (2 * phase - 1) * 0.1, places=7)
        self.assertEqual(len(trunk), 50)

    def test_hashes_are_those_of_the_list(self) -> None:
        sums = weights.published(support.ROOT / "weights")
        for name in ("alex.safetensors", "lin.safetensors"):
            self.assertEqual(weights.sha256(support.ROOT / "weights" / name), sums[name])
        self.assertIn("vgg.safetensors", sums)

    def test_pieces_are_joined_when_all_are_there(self) -> None:
        whole = bytes(range(256)) * 10
        expected = hashlib.sha256(whole).hexdigest()
        (self.folder / "x.part-aa").write_bytes(whole[:1000])
        against = weights.join_pieces(self.folder, "x", expected)
        self.assertIn("1000 bytes", against or "")
        self.assertFalse((self.folder / "x").exists())
        (self.folder / "x.part-ab").write_bytes(whole[1000:])
        self.assertIsNone(weights.join_pieces(self.folder, "x", expected))
        self.assertEqual((self.folder / "x").read_bytes(), whole)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["x", "x.part-aa", "x.part-ab"])

    def test_without_pieces_nothing_happens(self) -> None:
        self.assertIsNone(weights.join_pieces(self.folder, "x", ""))
        self.assertEqual(list(self.folder.iterdir()), [])


class Photos(unittest.TestCase):
    """Crops of the sample set, and the files they become."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.photos = photos.load(SR)

    def test_the_plain_reader_reads_what_the_plain_writer_wrote(self) -> None:
        image = self.photos[0].ref.crop(3, 5, 20, 10)
        with tempfile.TemporaryDirectory() as folder:
            png.write_plain(Path(folder) / "a.png", image)
            self.assertEqual(png.read_plain(Path(folder) / "a.png"), image)
            self.assertEqual(png.read(Path(folder) / "a.png"), image)

    def test_the_plain_reader_undoes_every_filter(self) -> None:
        # Two rows of two RGB pixels; the second row is 11 12 13 21 22 23 whatever its filter.
        above, raw = [1, 2, 3, 4, 5, 6], [11, 12, 13, 21, 22, 23]
        encoded = {
            0: raw,
            1: [11, 12, 13, 10, 10, 10],
            2: [10, 10, 10, 17, 17, 17],
            3: [11, 11, 12, 14, 14, 14],
            4: [10, 10, 10, 10, 10, 10],
        }
        for kind, line in encoded.items():
            found = png._unfilter(kind, bytearray(line), bytearray(above), 3)
            self.assertEqual(list(found), raw, f"filter {kind}")

    def test_crops_are_drawn_from_the_seed_and_lie_within_bounds(self) -> None:
        pairs = photos.crops(self.photos, 42, (31, 40), 5, near=3)
        self.assertEqual(pairs, photos.crops(self.photos, 42, (31, 40), 5, near=3))
        self.assertNotEqual(pairs, photos.crops(self.photos, 42, (31, 40), 6, near=3))
        self.assertEqual(len({pair.id for pair in pairs}), 45)
        self.assertEqual({pair.method for pair in pairs}, {*photos.METHODS, photos.NEAR})
        for pair in pairs:
            self.assertTrue(31 <= pair.ref.width <= 40 and 31 <= pair.ref.height <= 40)
            self.assertEqual((pair.ref.width, pair.ref.height), (pair.dist.width, pair.dist.height))
            self.assertNotEqual(pair.ref, pair.dist)

    def test_near_identical_pairs_differ_by_one_level_in_a_thousandth(self) -> None:
        image = self.photos[0].ref
        other = photos.nudged(image, random.Random(1))
        steps = [abs(a - b) for a, b in zip(image.rgb, other.rgb, strict=True) if a != b]
        self.assertEqual(steps, [1] * (len(image.rgb) // 1000))

    def test_mosaics_have_the_side_that_was_asked_for(self) -> None:
        for side in (50, 300):
            ref, dist = photos.mosaic(self.photos, side, random.Random(2))
            for image in (ref, dist):
                self.assertEqual((image.width, image.height, len(image.rgb)), (side, side, 3 * side * side))
            self.assertNotEqual(ref, dist)

    def test_a_set_of_files_names_every_row_apart(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            manifest = photos.write_files(folder, self.photos, 32, unique=2, rows=5, seed=3)
            rows = manifest.read_text().splitlines()
            self.assertEqual(rows[0], "id,ref,dist")
            self.assertEqual(len(set(rows)), 6)
            self.assertEqual(len(list(folder.glob("*.png"))), 10)
            self.assertEqual(png.read(folder / "00004_ref.png"), png.read(folder / "00000_ref.png"))
            self.assertNotEqual(png.read(folder / "00001_ref.png"), png.read(folder / "00000_ref.png"))

    def test_a_manifest_can_list_the_rows_in_another_order(self) -> None:
        pairs = photos.crops(self.photos, 3, (8, 8), 1)
        with tempfile.TemporaryDirectory() as name:
            first = photos.write(Path(name), pairs)
            second = photos.write(Path(name), pairs, [2, 0, 1])
            self.assertNotEqual(first, second)
            ids = [line.split(",")[0] for line in second.read_text().splitlines()[1:]]
            self.assertEqual(ids, [pairs[2].id, pairs[0].id, pairs[1].id])


if __name__ == "__main__":
    unittest.main()
