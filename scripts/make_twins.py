#!/usr/bin/env python3
"""Makes tests/data/twins: small images of every kind, and what PIL decodes them to.

Usage, in a virtual environment with Pillow 11 or newer, numpy and simplejpeg (for the chroma
subsamplings that Pillow cannot write):
    python scripts/make_twins.py

expected.csv says for each file: extents, bits of a sample, alpha, EXIF orientation, whether there is a
colour profile, and the SHA-256 of the RGB samples: of bytes, as PIL's convert("RGB") gives them, or of
big-endian 16-bit numbers where the file holds such (PIL clips or truncates those; we do not). Files
that are refused have an error code in the place of the hash.
"""
import csv
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageCms

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/twins"
PHOTO = Image.open(ROOT / "tests/data/sr/hr/astronaut.png").convert("RGB")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = Image.Exif()
EXIF[0x0112] = 6  # Turned by a quarter: ignored, except in a TIFF.
SIZES = ((64, 48), (37, 23), (17, 1))

rows: list[list] = []


def photo(size, mode="RGB"):
    """A piece of a photograph; alpha is a ramp with full, none and everything between."""
    width, height = size
    image = PHOTO.crop((90, 60, 90 + width, 60 + height))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        ramp = (np.arange(width * height).reshape(height, width) * 3 % 256).astype(np.uint8)
        image.putalpha(Image.fromarray(ramp))
        return image
    return image.convert(mode)


def note(name, **known):
    """Adds a row for a file; `known` overrides what PIL says of it."""
    image = Image.open(OUT / name)
    known.setdefault("depth", 8)
    known.setdefault("alpha", image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info)
    exif = image.getexif().get(0x0112, 1)
    known.setdefault("orientation", 1 if image.format == "TIFF" else exif)
    known.setdefault("profile", bool(image.info.get("icc_profile")))
    if "sha256" not in known:
        rgb = image.convert("RGB")
        known["sha256"] = hashlib.sha256(rgb.tobytes()).hexdigest()
        known.setdefault("size", rgb.size)
        if known["alpha"]:
            rgba = image.convert("RGBA")
            for color in ("black", "white"):
                over = Image.new("RGB", rgba.size, color)
                over.paste(rgba, mask=rgba.getchannel("A"))
                known.setdefault(color, hashlib.sha256(over.tobytes()).hexdigest())
    width, height = known.get("size", image.size)
    cells = [name, width, height, known["depth"]]
    cells += [int(known["alpha"]), known["orientation"], int(known["profile"]), known["sha256"]]
    cells += [known.get("black", ""), known.get("white", "")]
    rows.append(cells)


def save(name, image, known=None, **options):
    """Saves with PIL and adds the row."""
    image.save(OUT / name, **options)
    note(name, **(known or {}))


def write(name, data, **known):
    """Writes bytes and adds the row."""
    (OUT / name).write_bytes(data)
    note(name, **known)


def refuse(name, code):
    """Adds the row of a file that is refused."""
    rows.append([name, "", "", "", "", "", "", code, "", ""])


def deep(samples, most=65535):
    """The hash of RGB samples of which `most` stands for 1."""
    units = samples.astype(np.float32) / np.float32(most)
    return hashlib.sha256(units.astype("<f4").tobytes()).hexdigest()


def jpeg():
    cases = {
        f"{name}_q{quality}": dict(quality=quality, subsampling=subsampling)
        for quality in (10, 92)
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2))
    }
    cases["progressive"] = dict(quality=80, progressive=True)
    cases["optimized"] = dict(quality=80, optimize=True)
    for name, options in cases.items():
        for size in SIZES:
            for mode in ("RGB", "L"):
                kept = {k: v for k, v in options.items() if mode == "RGB" or k != "subsampling"}
                path = f"{name}_{size[0]}x{size[1]}_{mode.lower()}.jpg"
                save(path, photo(size, mode), **kept)
    for name in ("440", "411"):
        for size in SIZES:
            data = simplejpeg.encode_jpeg(np.asarray(photo(size)), 85, colorsubsampling=name)
            write(f"{name}_{size[0]}x{size[1]}.jpg", data)
    size = SIZES[1]
    save("restarts.jpg", photo(size), restart_marker_blocks=2)
    save("rgb.jpg", photo(size), keep_rgb=True, subsampling=0)
    save("exif.jpg", photo(size), exif=EXIF)
    save("icc.jpg", photo(size), icc_profile=SRGB)
    photo(size, "CMYK").save(OUT / "cmyk.jpg")
    refuse("cmyk.jpg", "E_UNSUPPORTED")


def png_bytes(samples, depth, color, interlaced, chunks=()):
    """A PNG of samples (row, column, channel) below 2**depth."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def lines(part):
        for line in part:
            bits = np.unpackbits(line.astype(">u2").reshape(-1, 1).view(np.uint8), axis=1)
            yield b"\0" + np.packbits(bits[:, 16 - depth :].reshape(-1)).tobytes()

    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
        passes.append((1, 0, 2, 1))
    parts = (samples[y::dy, x::dx] for y, x, dy, dx in passes)
    data = b"".join(line for part in parts if part.size for line in lines(part))
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    body = b"".join(chunk(kind, content) for kind, content in chunks)
    end = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + end


def png():
    random = np.random.default_rng(7)
    kinds = [("grey", 0, 1, (1, 2, 4, 8, 16)), ("rgb", 2, 3, (8, 16)), ("palette", 3, 1, (1, 2, 4, 8))]
    kinds += [("grey_alpha", 4, 2, (8, 16)), ("rgba", 6, 4, (8, 16))]
    width, height = SIZES[1]
    for kind, color, channels, depths in kinds:
        for depth in depths:
            samples = random.integers(0, 1 << depth, (height, width, channels))
            palette = random.integers(0, 256, (1 << depth, 3)).astype(np.uint8).tobytes()
            chunks = [(b"PLTE", palette)] if color == 3 else []
            known = {}
            if depth == 16:
                rgb = samples[..., :3] if channels > 2 else samples[..., :1].repeat(3, axis=2)
                known = dict(depth=16, sha256=deep(rgb), alpha=channels in (2, 4))
            for interlaced in (False, True):
                name = f"{kind}{depth}{'_interlaced' if interlaced else ''}.png"
                write(name, png_bytes(samples, depth, color, interlaced, chunks), **known)
            if color == 3:
                transparency = [(b"tRNS", bytes([0, 128]))]
                name = f"{kind}{depth}_transparent.png"
                write(name, png_bytes(samples, depth, color, False, chunks + transparency))
            if color in (0, 2) and depth <= 8:
                transparency = [(b"tRNS", struct.pack(f">{channels}H", *[1] * channels))]
                name = f"{kind}{depth}_transparent.png"
                # PIL compares the colour with expanded samples, against the standard of PNG.
                known = dict(black="", white="") if depth < 8 else {}
                write(name, png_bytes(samples, depth, color, False, transparency), **known)
    save("exif.png", photo((37, 23)), exif=EXIF)
    save("icc.png", photo((37, 23)), icc_profile=SRGB)
    frames = [photo((37, 23)), photo((37, 23)).rotate(180)]
    save("animated.png", frames[0], save_all=True, append_images=frames[1:])
    gamma = [(b"gAMA", struct.pack(">I", 100000))]
    write("gamma.png", png_bytes(np.asarray(photo((37, 23))), 8, 2, False, gamma))


def webp():
    for size in SIZES:
        extents = f"{size[0]}x{size[1]}"
        for quality in (5, 50, 95):
            save(f"lossy_q{quality}_{extents}.webp", photo(size), quality=quality)
        save(f"lossless_{extents}.webp", photo(size), lossless=True)
        save(f"lossy_alpha_{extents}.webp", photo(size, "RGBA"), quality=60)
        save(f"lossless_alpha_{extents}.webp", photo(size, "RGBA"), lossless=True, exact=True)
    save("exif_icc.webp", photo((37, 23)), quality=60, exif=EXIF, icc_profile=SRGB)
    frames = [photo((37, 23)), photo((37, 23)).rotate(180)]
    frames[0].save(OUT / "animated.webp", save_all=True, append_images=frames[1:], lossless=True)
    note("animated.webp")  # The first frame, as PIL opens it.


def bmp_bytes(width, height, bits, data, compression=0, masks=b"", palette=b""):
    """A BMP with the 40-byte header; a negative height puts the first row first."""
    start = 14 + 40 + len(masks) + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + masks + palette + data


def bmp():
    size = SIZES[1]
    width, height = size
    for mode in ("1", "L", "RGB", "RGBA"):
        # A BMP has no alpha unless its masks say so, and then PIL calls it RGBA.
        save(f"{mode.lower()}.bmp", photo(size, mode))
    save("p.bmp", photo(size).quantize(100))
    rgb = np.asarray(photo(size)).astype(np.uint16)
    rows16 = lambda values: np.pad(values, ((0, 0), (0, width % 2))).astype("<u2").tobytes()
    five = (rgb[..., 0] >> 3 << 10) | (rgb[..., 1] >> 3 << 5) | rgb[..., 2] >> 3
    (OUT / "555.bmp").write_bytes(bmp_bytes(width, -height, 16, rows16(five)))
    refuse("555.bmp", "E_UNSUPPORTED")
    six = (rgb[..., 0] >> 3 << 11) | (rgb[..., 1] >> 2 << 5) | rgb[..., 2] >> 3
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    (OUT / "565.bmp").write_bytes(bmp_bytes(width, height, 16, rows16(six[::-1]), 3, masks))
    refuse("565.bmp", "E_UNSUPPORTED")
    down = np.asarray(photo(size, "RGBA"))
    write("down.bmp", bmp_bytes(width, -height, 32, down.tobytes()))
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    write("masks.bmp", bmp_bytes(width, -height, 32, down.tobytes(), 3, masks))
    four = np.random.default_rng(8).integers(0, 256, (height, 20)).astype(np.uint8)
    palette = np.random.default_rng(9).integers(0, 256, (16, 4)).astype(np.uint8).tobytes()
    write("palette4.bmp", bmp_bytes(width, height, 4, four.tobytes(), palette=palette))
    runs = b"".join(b"".join(bytes([1, (x * y) % 16]) for x in range(width)) + b"\0\0" for y in range(height))
    palette = np.random.default_rng(9).integers(0, 256, (256, 4)).astype(np.uint8).tobytes()
    write("rle8.bmp", bmp_bytes(width, height, 8, runs + b"\0\1", 1, palette=palette))


def tiff():
    size = SIZES[1]
    for mode in ("1", "L", "RGB", "RGBA"):
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            image = photo(size, mode)
            save(f"{mode.lower()}_{compression.removeprefix('tiff_')}.tiff", image, compression=compression)
    save("predictor.tiff", photo(size), compression="tiff_lzw", tiffinfo={317: 2})
    save("icc.tiff", photo(size), icc_profile=SRGB)
    for orientation in range(2, 9):
        save(f"orientation{orientation}.tiff", photo(size), tiffinfo={0x0112: orientation})
    grey = np.random.default_rng(10).integers(0, 1 << 16, (23, 37)).astype(np.uint16)
    sha256 = deep(grey[..., None].repeat(3, axis=2))
    save("grey16.tiff", Image.fromarray(grey), known=dict(depth=16, sha256=sha256))
    pages = [photo(size), photo(size).rotate(180)]
    save("pages.tiff", pages[0], save_all=True, append_images=pages[1:])
    photo(size, "CMYK").save(OUT / "cmyk.tiff")
    refuse("cmyk.tiff", "E_UNSUPPORTED")
    photo(size).quantize(100).save(OUT / "palette.tiff")
    refuse("palette.tiff", "E_UNSUPPORTED")
    photo(size, "LA").save(OUT / "la.tiff")
    refuse("la.tiff", "E_UNSUPPORTED")
    save("white_is_zero.tiff", photo(size, "L"), tiffinfo={262: 0})
    photo(size, "F").save(OUT / "float.tiff")
    refuse("float.tiff", "E_RANGE")
    photo(size).save(OUT / "jpeg.tiff", compression="jpeg")
    refuse("jpeg.tiff", "E_UNSUPPORTED")


def pnm():
    size = SIZES[1]
    width, height = size
    for mode, name in (("1", "pbm"), ("L", "pgm"), ("RGB", "ppm")):
        save(f"raw.{name}", photo(size, mode))
    random = np.random.default_rng(11)
    bits = random.integers(0, 2, (height, width))
    plain = lambda values: "\n".join(" ".join(map(str, line)) for line in values.reshape(height, -1))
    write("plain.pbm", f"P1\n# a comment\n{width} {height}\n{plain(bits)}\n".encode())
    for channels, name, formats in ((1, "pgm", (b"P2", b"P5")), (3, "ppm", (b"P3", b"P6"))):
        for most in (1, 15, 100, 255, 1000, 65535):
            samples = random.integers(0, most + 1, (height, width, channels))
            head = b"\n%d %d\n%d\n" % (width, height, most)
            known = {}
            if most > 255:
                known = dict(depth=16, sha256=deep(samples.repeat(3 // channels, axis=2), most))
            write(f"plain{most}.{name}", formats[0] + head + plain(samples).encode() + b"\n", **known)
            kind = ">u2" if most > 255 else np.uint8
            write(f"raw{most}.{name}", formats[1] + head + samples.astype(kind).tobytes(), **known)


def main() -> None:
    """Writes every twin and expected.csv."""
    OUT.mkdir(exist_ok=True)
    for make in (jpeg, png, webp, bmp, tiff, pnm):
        make()
    with (OUT / "expected.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow("name,width,height,depth_bits,alpha,orientation,profile,sha256,black,white".split(","))
        table.writerows(rows)


if __name__ == "__main__":
    main()
