#!/usr/bin/env python3
"""Makes tests/data/twins: small images of every kind, and what PIL decodes them to.

There is a file for each row of the lists of header fields that the program reads, and one for each
kind that it refuses (docs/formats.md). Usage, with cjpeg (libjpeg-turbo) on the path, in a virtual
environment with Pillow 13, numpy, simplejpeg, tifffile and imagecodecs:
    python scripts/make_twins.py

expected.csv states for each file: extents, bits of a sample, alpha, EXIF orientation, whether there
is a colour profile, and the SHA-256 of the RGB samples: of bytes, as PIL's convert("RGB") gives them,
or of little-endian float32 where the file holds more than 8 bits (PIL clips or truncates those; the
program does not). Files that are refused have an error code in the place of the hash, and a part of
the message in the last column.
"""
import csv
import hashlib
import io
import struct
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
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


def note(name, clean=None, **known):
    """Adds a row for a file; `known` overrides what PIL says of it. `clean` has the same pixels, and
    none of the metadata that PIL stumbles over."""
    image = Image.open(OUT / name if clean is None else io.BytesIO(clean))
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
    rows.append(cells + [known.get("black", ""), known.get("white", ""), ""])


def save(name, image, known=None, **options):
    """Saves with PIL and adds the row."""
    image.save(OUT / name, **options)
    note(name, **(known or {}))


def write(name, data, **known):
    """Writes bytes and adds the row."""
    (OUT / name).write_bytes(data)
    note(name, **known)


def refuse(name, code, reason, data=None):
    """Writes bytes, if there are any, and adds the row of a file that is refused."""
    if data is not None:
        (OUT / name).write_bytes(data)
    rows.append([name, *[""] * 6, code, "", "", reason])


def floats(samples):
    """The hash of RGB samples that are floats."""
    return hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()


def deep(samples, most=65535):
    """The hash of RGB samples of which `most` stands for 1."""
    return floats(samples.astype(np.float32) / np.float32(most))


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
    refuse("cmyk.jpg", "E_UNSUPPORTED", "CMYK")
    jpeg_processes()
    jpeg_metadata()


def cjpeg(name, *options, known=None):
    """Encodes a photograph with libjpeg-turbo's own tool."""
    source = OUT / "cjpeg.ppm"
    photo(SIZES[1]).save(source)
    command = ["cjpeg", *options, "-outfile", str(OUT / name), str(source)]
    subprocess.run(command, check=True)
    source.unlink()
    note(name, **(known or {}))


def jpeg_processes():
    cjpeg("arithmetic.jpg", "-arithmetic")
    cjpeg("arithmetic_progressive.jpg", "-arithmetic", "-progressive")
    cjpeg("arithmetic_grey.jpg", "-arithmetic", "-grayscale")
    cjpeg("arithmetic_restarts.jpg", "-arithmetic", "-restart", "1")
    samplings = ("1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x2,2x1,2x1", "2x2,1x2,1x2")
    for sampling in samplings:
        name = "sampling_" + sampling.replace(",", "_")
        cjpeg(f"{name}.jpg", "-sample", sampling)
        cjpeg(f"{name}_progressive.jpg", "-sample", sampling, "-progressive")
    for sampling in ("3x1", "2x4", "2x1,1x1,2x1"):
        name = "sampling_" + sampling.replace(",", "_") + ".jpg"
        cjpeg(name, "-sample", sampling)
        rows.pop()
        refuse(name, "E_UNSUPPORTED", "sampling")
    data = (OUT / "420_q92_37x23_rgb.jpg").read_bytes()
    frame = data.index(b"\xff\xc0")
    patched = lambda at, new: data[: frame + at] + new + data[frame + at + len(new) :]
    names = {3: "lossless", 5: "hierarchical", 6: "hierarchical", 7: "hierarchical"}
    names |= {11: "lossless", 13: "hierarchical", 14: "hierarchical", 15: "hierarchical"}
    for process, text in names.items():
        refuse(f"sof{process}.jpg", "E_UNSUPPORTED", f"{text} coding (SOF{process})", patched(1, bytes([0xC0 + process])))
    lossless = imagecodecs.ljpeg_encode(np.asarray(photo(SIZES[1], "L")))
    refuse("lossless.jpg", "E_UNSUPPORTED", "lossless coding (SOF3)", lossless)
    refuse("12_bits.jpg", "E_UNSUPPORTED", "a precision of 12 bits", patched(4, b"\x0c"))
    refuse("16_bits.jpg", "E_UNSUPPORTED", "a precision of 16 bits", patched(4, b"\x10"))
    refuse("no_height.jpg", "E_UNSUPPORTED", "DNL", patched(5, b"\0\0"))
    refuse("two_components.jpg", "E_UNSUPPORTED", "2 components", patched(9, b"\x02"))
    # SOF1 holds the same codes as SOF0 if there are no more tables.
    write("sof1.jpg", patched(1, b"\xc1"))
    ycck = bytearray(io_bytes(photo(SIZES[1], "CMYK"), "JPEG"))
    refuse("ycck.jpg", "E_UNSUPPORTED", "CMYK", bytes(ycck))


def io_bytes(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg_metadata():
    """Broken metadata never change pixels."""
    data = io_bytes(photo(SIZES[1]), "JPEG", quality=85)
    segment = lambda marker, body: bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    tail = data[2:]
    write("broken_exif.jpg", data[:2] + segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f") + tail)
    write("short_exif.jpg", data[:2] + segment(0xE1, b"Exif\0\0II") + tail)
    write("broken_icc.jpg", data[:2] + segment(0xE2, b"ICC_PROFILE\0\1") + tail, clean=data)
    write("adobe_unknown.jpg", data[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\1") + tail)
    rgb = io_bytes(photo(SIZES[1]), "JPEG", quality=85, keep_rgb=True, subsampling=0)
    write("adobe_rgb.jpg", rgb[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + rgb[2:])
    write("comments.jpg", data[:2] + segment(0xFE, b"x" * 300) * 3 + tail)
    write("fill_bytes.jpg", data[:2] + b"\xff" * 9 + tail)
    write("trailing.jpg", data + b"what follows the end is not read")
    second = io_bytes(photo(SIZES[1]).rotate(180), "JPEG")
    write("two_images.jpg", data + second)
    write("preview.jpg", data[:2] + segment(0xE1, b"Exif\0\0" + second) + tail)


def png_chunk(kind, data, crc=None):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) if crc is None else crc)


def png_bytes(samples, depth, color, interlaced, chunks=(), methods=(0, 0), after=b""):
    """A PNG of samples (row, column, channel) below 2**depth."""
    chunk = png_chunk

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
    header = struct.pack(">IIBBBBB", width, height, depth, color, *methods, int(interlaced))
    body = b"".join(chunk(*content) for content in chunks)
    end = chunk(b"IDAT", zlib.compress(data)) + after + chunk(b"IEND", b"")
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
    png_metadata()
    png_refused()


def png_metadata():
    """Broken metadata never change pixels. PIL refuses some of these files; the pixels are known."""
    rgb = np.asarray(photo((37, 23)))
    truth = dict(sha256=hashlib.sha256(rgb.tobytes()).hexdigest())
    good = png_bytes(rgb, 8, 2, False)
    at = good.index(b"IDAT") - 4

    def put(name, *chunks, **known):
        (OUT / name).write_bytes(good[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + good[at:])
        cells = [name, 37, 23, 8, 0, known.get("orientation", 1), int(known.get("profile", False))]
        rows.append(cells + [truth["sha256"], "", "", ""])

    put("broken_exif.png", (b"eXIf", b"II*\0\xff\xff\xff\x7f"))
    put("broken_icc.png", (b"iCCP", b"name\0\0not compressed"))
    put("nameless_icc.png", (b"iCCP", b"x" * 90))
    put("broken_text.png", (b"zTXt", b"key\0\0not compressed"), (b"tEXt", b""), (b"iTXt", b"\xff" * 9))
    put("wrong_crc_text.png", (b"tEXt", b"key\0value", 1))
    put("wrong_crc_icc.png", (b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB), 1), profile=True)
    put("two_icc.png", *[(b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB))] * 2, profile=True)
    put("two_gamma.png", *[(b"gAMA", struct.pack(">I", 45455))] * 2)
    put("short_chunks.png", (b"gAMA", b""), (b"cHRM", b"1"), (b"pHYs", b"1"), (b"sRGB", b""), (b"sBIT", b"\xff" * 3))
    put("bad_animation.png", (b"acTL", b""), (b"fcTL", b"\xff" * 26))
    put("unknown_ancillary.png", (b"abCd", b"x" * 100))
    put("text_bomb.png", (b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20))))
    (OUT / "late_chunks.png").write_bytes(png_bytes(rgb, 8, 2, False, after=png_chunk(b"tEXt", b"a\0b", 1)))
    rows.append(["late_chunks.png", 37, 23, 8, 0, 1, 0, truth["sha256"], "", "", ""])
    write("trailing.png", good + b"what follows the end is not read")
    # A suggested palette, and transparency that alpha makes void.
    write("suggested_palette.png", png_bytes(rgb, 8, 2, False, [(b"PLTE", bytes(range(30)))]))
    rgba = np.asarray(photo((37, 23), "RGBA"))
    write("void_transparency.png", png_bytes(rgba, 8, 6, False, [(b"tRNS", b"\0\1\0\2\0\3")]))
    indices = np.random.default_rng(12).integers(0, 256, (23, 37, 1))
    write("short_palette.png", png_bytes(indices, 8, 3, False, [(b"PLTE", bytes(range(90)))]))
    palette = [(b"PLTE", bytes(range(90))), (b"tRNS", bytes(range(0, 200, 2)))]
    write("long_transparency.png", png_bytes(indices % 30, 8, 3, False, palette))
    deep16 = np.random.default_rng(13).integers(0, 3, (23, 37, 3))
    for name, channels, color in (("grey16", 1, 0), ("rgb16", 3, 2)):
        samples = deep16[..., :channels]
        key = [(b"tRNS", struct.pack(f">{channels}H", *[1] * channels))]
        known = dict(depth=16, alpha=True, sha256=deep(samples.repeat(3 // channels, axis=2)))
        write(f"{name}_transparent.png", png_bytes(samples, 16, color, False, key), **known)
    split = good[:at]
    data = good[at + 8 : good.index(b"IEND") - 8]
    pieces = b"".join(png_chunk(b"IDAT", data[i : i + 50]) for i in range(0, len(data), 50))
    write("split_data.png", split + pieces + png_chunk(b"IEND", b""))
    default = [photo((37, 23)), photo((37, 23)).rotate(90), photo((37, 23)).rotate(180)]
    save("animated_default.png", default[0], save_all=True, append_images=default[1:], default_image=True)


def png_refused():
    rgb = np.asarray(photo((37, 23)))
    good = png_bytes(rgb, 8, 2, False)
    at = good.index(b"IDAT") - 4
    apple = good[:8] + png_chunk(b"CgBI", b"\x50\0\x20\2") + good[8:]
    refuse("apple.png", "E_DECODE", "IHDR", apple)
    critical = good[:at] + png_chunk(b"ABCD", b"") + good[at:]
    refuse("unknown_critical.png", "E_UNSUPPORTED", "the critical chunk `ABCD`", critical)
    for name, depth, color in (("grey3", 3, 0), ("rgb4", 4, 2), ("palette16", 16, 3), ("type5", 8, 5)):
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 37, 23, depth, color, 0, 0, 0))
        data = good[:8] + header + good[33:]
        refuse(f"{name}.png", "E_UNSUPPORTED", f"colour type {color} of {depth} bits", data)
    for name, methods in (("compression method", (1, 0)), ("filter method", (0, 64))):
        data = png_bytes(rgb, 8, 2, False, methods=methods)
        refuse(f"{name.replace(' ', '_')}.png", "E_UNSUPPORTED", f"{name} {max(methods)}", data)
    refuse("interlace_method.png", "E_UNSUPPORTED", "interlace method 2", png_bytes(rgb, 8, 2, 2))
    refuse("no_palette.png", "E_DECODE", "without a palette", png_bytes(rgb[..., :1], 8, 3, False))
    refuse("wrong_crc.png", "E_DECODE", "CRC", good[:-16] + b"abcd" + good[-12:])
    refuse("wrong_header_crc.png", "E_DECODE", "IHDR", good[:29] + b"abcd" + good[33:])
    refuse("no_end.png", "E_DECODE", "ends", good[:-12])


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
    webp_containers()


def webp_chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp_file(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_images(image, **options):
    """The chunks of an image that hold pixels."""
    data = io_bytes(image, "WEBP", **options)
    at, found = 12, b""
    while at + 8 <= len(data):
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        if data[at : at + 4] in (b"VP8 ", b"VP8L", b"ALPH"):
            found += webp_chunk(data[at : at + 4], data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return found


def u24(value):
    return struct.pack("<I", value)[:3]


def vp8x(flags, size):
    return webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + u24(size[0] - 1) + u24(size[1] - 1))


def anmf(image, left=0, top=0, flags=0, **options):
    place = u24(left // 2) + u24(top // 2) + u24(image.width - 1) + u24(image.height - 1) + u24(100)
    return webp_chunk(b"ANMF", place + bytes([flags]) + webp_images(image, **options))


def webp_containers():
    """Chunks and flags of extended files, and first frames of animations."""
    size = (37, 23)
    rgb, rgba, small = photo(size), photo(size, "RGBA"), photo((20, 11), "RGBA")
    exact = dict(lossless=True, exact=True)
    plain, alpha = webp_images(rgb, lossless=True), webp_images(rgba, **exact)
    lossy = webp_images(rgb, quality=70)
    lossy_alpha = webp_images(rgba, quality=70)
    exif = webp_chunk(b"EXIF", EXIF.tobytes())
    for name, flag in (("exif", 8), ("xmp", 4), ("icc", 32), ("all", 44)):
        write(f"stale_{name}.webp", webp_file(vp8x(flag, size), plain))
        write(f"stale_{name}_lossy.webp", webp_file(vp8x(flag, size), lossy))
    write("stale_alpha.webp", webp_file(vp8x(16, size), plain), black="", white="")
    write("stale_alpha_lossy.webp", webp_file(vp8x(16, size), lossy))
    write("no_alpha_flag.webp", webp_file(vp8x(0, size), alpha))
    write("no_alpha_flag_lossy.webp", webp_file(vp8x(0, size), lossy_alpha))
    write("no_exif_flag.webp", webp_file(vp8x(0, size), plain, exif))
    write("exif_first.webp", webp_file(vp8x(8, size), exif, plain))
    write("exif_prefix.webp", webp_file(vp8x(8, size), plain, webp_chunk(b"EXIF", b"Exif\0\0" + EXIF.tobytes()[6:])))
    write("broken_exif.webp", webp_file(vp8x(8, size), plain, webp_chunk(b"EXIF", b"II*\0\xff\xff\xff\x7f")))
    write("broken_icc.webp", webp_file(vp8x(32, size), webp_chunk(b"ICCP", b"x"), plain), profile=True)
    write("unknown_chunk.webp", webp_file(vp8x(0, size), webp_chunk(b"abcd", b"xyz"), plain))
    write("trailing.webp", webp_file(plain) + b"what follows the end is not read")
    write("raw_alpha.webp", io_bytes(rgba, "WEBP", quality=60, alpha_quality=30))
    anim = webp_chunk(b"ANIM", b"\xff\x80\x40\xff\0\0")
    head = lambda flags=18: vp8x(flags, size) + anim
    second = anmf(rgb.rotate(180), lossless=True)
    for name, first in {
        "opaque": anmf(rgb, lossless=True),
        "alpha": anmf(rgba, **exact),
        "lossy": anmf(rgb, quality=60),
        "lossy_alpha": anmf(rgba, quality=60),
        "part": anmf(small, 6, 4, **exact),
        "part_opaque": anmf(small.convert("RGB"), 6, 4, lossless=True),
        "part_lossy_alpha": anmf(small, 16, 12, quality=60),
        "no_blend": anmf(small, 6, 4, 2, **exact),
        "dispose": anmf(small, 6, 4, 1, **exact),
    }.items():
        write(f"first_{name}.webp", webp_file(head(), first, second))
    write("first_no_alpha_flag.webp", webp_file(head(2), anmf(rgba, **exact), second))
    write("first_only.webp", webp_file(head(), anmf(small, 6, 4, **exact)))
    # Pixels that are not those of the header, and files without any.
    refuse("canvas.webp", "E_DECODE", "WebP", webp_file(vp8x(0, (64, 64)), plain))
    refuse("no_frame.webp", "E_DECODE", "holds no image", webp_file(head()))
    refuse("frame_outside.webp", "E_DECODE", "WebP", webp_file(head(), anmf(small, 30, 4, **exact)))
    refuse("first_chunk.webp", "E_DECODE", "a first chunk `ABCD`", webp_file(webp_chunk(b"ABCD", b"")))
    refuse("short.webp", "E_DECODE", "bytes of", webp_file(plain)[:-10])


def bmp_bytes(width, height, bits, data, compression=0, masks=b"", palette=b""):
    """A BMP with the 40-byte header; a negative height puts the first row first."""
    start = 14 + 40 + len(masks) + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + masks + palette + data


def bmp_header(length, width, height, bits, compression=0, colors=0, masks=(0, 0, 0, 0), size=0):
    """A header of any length that has been in use, and the masks behind a short one."""
    if length == 12:
        return struct.pack("<IHHHH", 12, width, height, 1, bits)
    fields = struct.pack("<IiiHHIIiiII", length, width, height, 1, bits, compression, size, 0, 0, colors, 0)
    rest = struct.pack("<IIII", *masks)
    if length == 40:
        return fields + (rest[:12] if compression == 3 else b"")
    return (fields + rest).ljust(length, b"\0")[:length]


def bmp_file(header, data, palette=b"", offset=None):
    start = 14 + len(header) + len(palette) if offset is None else offset
    return struct.pack("<2sIHHI", b"BM", 14 + len(header) + len(palette) + len(data), 0, 0, start) + header + palette + data


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
    write("555.bmp", bmp_bytes(width, -height, 16, rows16(five)))
    write("555_masks.bmp", bmp_bytes(width, -height, 16, rows16(five), 3, struct.pack("<III", 0x7C00, 0x3E0, 0x1F)))
    six = (rgb[..., 0] >> 3 << 11) | (rgb[..., 1] >> 2 << 5) | rgb[..., 2] >> 3
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    write("565.bmp", bmp_bytes(width, height, 16, rows16(six[::-1]), 3, masks))
    down = np.asarray(photo(size, "RGBA"))
    write("down.bmp", bmp_bytes(width, -height, 32, down.tobytes()))
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    write("masks.bmp", bmp_bytes(width, -height, 32, down.tobytes(), 3, masks))
    known = (0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF000000, 0xFF00, 0xFF, 0)
    known += (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    known += (0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0)
    for index, masks in enumerate(known):
        for length in (56, 108, 124) if index == 5 else (108,):
            header = bmp_header(length, width, -height, 32, 3, masks=masks)
            write(f"masks{index}_{length}.bmp", bmp_file(header, down.tobytes()))
    header = bmp_header(52, width, -height, 32, 3, masks=known[0])
    write("masks_52.bmp", bmp_file(header, down.tobytes()))
    rows24 = np.pad(down[..., :3].reshape(height, -1), ((0, 0), (0, -width * 3 % 4))).tobytes()
    write("masks_24.bmp", bmp_file(bmp_header(40, width, -height, 24, 3, masks=known[0]), rows24))
    for length in (12, 64, 124):
        write(f"header_{length}.bmp", bmp_file(bmp_header(length, width, height, 24), rows24))
    write("offset.bmp", bmp_file(bmp_header(40, width, height, 24), b"gap" + rows24, offset=57))
    write("no_offset.bmp", bmp_file(bmp_header(40, width, height, 24), rows24, offset=0))
    write("unpadded.bmp", bmp_file(bmp_header(40, width, height, 24), rows24)[:-1])
    four = np.random.default_rng(8).integers(0, 256, (height, 20)).astype(np.uint8)
    palette = np.random.default_rng(9).integers(0, 256, (16, 4)).astype(np.uint8).tobytes()
    write("palette4.bmp", bmp_bytes(width, height, 4, four.tobytes(), palette=palette))
    bits = np.random.default_rng(8).integers(0, 256, (height, 8)).astype(np.uint8).tobytes()
    write("palette1.bmp", bmp_file(bmp_header(40, width, height, 1), bits, palette[:8]))
    triples = np.random.default_rng(9).integers(0, 256, (16, 3)).astype(np.uint8).tobytes()
    write("palette4_12.bmp", bmp_file(bmp_header(12, width, height, 4), four.tobytes(), triples))
    eight = np.random.default_rng(8).integers(0, 256, (height, 40)).astype(np.uint8).tobytes()
    write("short_palette.bmp", bmp_file(bmp_header(40, width, height, 8, colors=16), eight, palette))
    ramp = np.arange(256, dtype=np.uint8).repeat(4).tobytes()
    write("grey_palette.bmp", bmp_file(bmp_header(40, width, height, 8), eight, ramp))
    write("short_grey_palette.bmp", bmp_file(bmp_header(40, width, height, 8, colors=9), eight, ramp[:36]))
    bmp_runs()
    # PIL takes the pixels of these for bytes or bits, since the palette is grey.
    text = "a palette of 16 greys for 4 bits"
    refuse("grey_palette4.bmp", "E_UNSUPPORTED", text, bmp_file(bmp_header(40, width, height, 4), four.tobytes(), ramp[:64]))
    two = b"\0\0\0\0\xff\xff\xff\0"
    text = "a palette of 2 greys for 8 bits"
    refuse("grey_palette2.bmp", "E_UNSUPPORTED", text, bmp_file(bmp_header(40, width, height, 8, colors=2), eight, two))
    for length in (16, 20, 80):
        header = bmp_header(124, width, height, 24)
        data = bmp_file(struct.pack("<I", length) + header[4:], rows24)
        refuse(f"header_{length}.bmp", "E_UNSUPPORTED", f"a header of {length} bytes", data)
    for compression, bits in ((4, 24), (5, 24), (1, 4), (2, 8), (1, 24), (3, 8), (0, 2), (0, 64), (6, 32), (11, 32)):
        data = bmp_file(bmp_header(40, width, height, bits, compression), eight, palette)
        text = f"compression {compression} of {bits} bits"
        refuse(f"compression{compression}_{bits}.bmp", "E_UNSUPPORTED", text, data)
    for bits, masks in ((16, (0xF00, 0xF0, 0xF, 0)), (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)), (24, (0xFF, 0xFF00, 0xFF0000, 0))):
        data = bmp_file(bmp_header(108, width, height, bits, 3, masks=masks), down.tobytes())
        refuse(f"odd_masks_{bits}.bmp", "E_UNSUPPORTED", f"masks {masks[0]:08x}", data)
    data = bmp_file(bmp_header(64, width, height, 24, 3), rows24)
    refuse("os2_huffman.bmp", "E_UNSUPPORTED", "compression 3 of OS/2", data)
    data = bmp_file(bmp_header(40, width, height, 8, colors=300), eight, ramp)
    refuse("colors_300.bmp", "E_UNSUPPORTED", "a palette of 300 colours", data)
    data = bmp_file(bmp_header(40, width, height, 24), rows24)[:-5]
    refuse("short.bmp", "E_DECODE", "the file ends at byte", data)


def bmp_runs():
    """Run lengths: of one byte, literal, with moves, with rows that end early, and damaged."""
    width, height = 37, 23
    palette = np.random.default_rng(9).integers(0, 256, (256, 4)).astype(np.uint8).tobytes()
    full = lambda value: bytes([width, value]) + b"\0\0"
    ones = b"".join(b"".join(bytes([1, (x * y) % 16]) for x in range(width)) + b"\0\0" for y in range(height))
    literal = b"".join(b"\0" + bytes([width]) + bytes((x * y) % 251 for x in range(width)) + b"\0" + b"\0\0" for y in range(height))
    cases = {
        "rle8": ones + b"\0\1",
        "rle8_literal": literal + b"\0\1",
        "rle8_full": full(7) * height,
        "rle8_early_rows": b"".join(bytes([y + 1, 40 + y]) + b"\0\0" for y in range(height)) + b"\0\1",
        "rle8_empty_rows": (full(9) + b"\0\0") * 12,
        "rle8_move": full(5) * 4 + b"\x05\x09\0\2\x03\x02" + b"\x05\x0b\0\0" + full(6) * (height - 7),
        "rle8_move_to_end": full(5) * 4 + b"\0\2\xff\xff\0\1",
        "rle8_too_long_row": b"".join(bytes([200, y]) + b"\0\0" for y in range(height)) + b"\0\1",
        "rle8_no_row_ends": bytes([width, 3]) * height,
        "rle8_wide_literal": b"".join(b"\0\x28" + bytes(range(y, y + 40)) + b"\0\0" for y in range(height)),
        "rle8_after_end": ones + b"\0\1" + b"trailing",
    }
    header = bmp_header(40, width, height, 8, 1)
    for name, runs in cases.items():
        try:
            write(f"{name}.bmp", bmp_file(header, runs, palette))
        except (ValueError, OSError):
            refuse(f"{name}.bmp", "E_DECODE", "run lengths for")
    write("rle8_down.bmp", bmp_file(bmp_header(40, width, -height, 8, 1), cases["rle8_literal"], palette))
    ramp = np.arange(256, dtype=np.uint8).repeat(4).tobytes()
    write("rle8_grey.bmp", bmp_file(header, cases["rle8_literal"], ramp))
    half = {
        "rle4": b"".join(bytes([width, 0x10 * (y % 16) + 5]) + b"\0\0" for y in range(height)) + b"\0\1",
        "rle4_literal": b"".join(b"\0\x25" + bytes((x * 7 + y) % 256 for x in range(19)) + b"\0" + b"\0\0" for y in range(height)),
        "rle4_move": b"\x25\x12\0\0" * 9 + b"\0\2\x05\x03" + b"\x07\x34\0\0" + b"\x25\x56\0\0" * (height - 13) + b"\0\1",
        "rle4_odd_literal": b"".join(b"\0\x05\x12\x34\x50\0" + bytes([32, 0x67]) + b"\0\0" for y in range(height)),
    }
    for name, runs in half.items():
        write(f"{name}.bmp", bmp_file(bmp_header(40, width, height, 4, 2), runs, palette[:64]))
    damaged = {
        "cut": literal[: len(literal) // 2],
        "zeros": literal[: len(literal) // 2] + bytes(7),
        "end": literal[: len(literal) // 2] + b"\0\1",
        "literal": literal[: len(literal) // 2 - 10],
        "move": full(5) * 4 + b"\0\2\1",
        "none": b"",
    }
    for name, runs in damaged.items():
        data = bmp_file(header, runs, palette)
        try:
            Image.open(io.BytesIO(data)).load()
        except (ValueError, OSError):
            refuse(f"damaged_rle8_{name}.bmp", "E_DECODE", "run lengths for", data)
        else:
            write(f"damaged_rle8_{name}.bmp", data)


def tiff_file(samples, bits=8, photometric=2, *, order="<", big=False, compression=1, predictor=1,
              planar=False, tile=None, rows=None, tags=None, drop=(), fill_order=1):
    """A TIFF of samples (row, column, channel), whose strips or tiles may be stored in any way."""
    height, width, channels = samples.shape
    kind = {8: "u1", 16: "u2", 32: "f4"}.get(bits)
    chunk_w, chunk_h = tile or (width, rows or height)

    def encode(chunk):
        chunk = np.ascontiguousarray(chunk)
        if bits < 8:
            numbers = np.unpackbits(chunk[..., :1].astype(np.uint8), axis=2)[..., 8 - bits :]
            data = np.packbits(numbers.reshape(len(chunk), -1), axis=1).tobytes()
        elif predictor == 3:
            data = imagecodecs.floatpred_encode(chunk.astype(order + kind), axis=1).tobytes()
        else:
            chunk = chunk.astype(order + kind)
            if predictor == 2:
                integers = chunk.view(order + kind.replace("f", "u"))
                differences = np.diff(integers, axis=1, prepend=integers[:, :1] * 0)
                chunk = differences.astype(order + kind.replace("f", "u"))
            data = chunk.tobytes()
        if compression in (8, 32946):
            data = zlib.compress(data)
        elif compression == 32773:
            data = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in np.frombuffer(data, np.uint8).reshape(len(chunk), -1))
        elif compression == 5:
            data = imagecodecs.lzw_encode(data)
        if fill_order == 2:
            data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
        return data

    chunks = []
    for plane in np.split(samples, channels, axis=2) if planar else [samples]:
        for y in range(0, height, chunk_h):
            for x in range(0, width, chunk_w):
                part = plane[y : y + chunk_h, x : x + chunk_w]
                if tile:
                    part = np.pad(part, ((0, chunk_h - part.shape[0]), (0, chunk_w - part.shape[1]), (0, 0)))
                chunks.append(encode(part))
    entries = {256: width, 257: height, 258: [bits] * channels, 259: compression, 262: photometric, 277: channels}
    if tile:
        entries |= {322: chunk_w, 323: chunk_h, 324: [0] * len(chunks), 325: [len(data) for data in chunks]}
    else:
        entries |= {273: [0] * len(chunks), 278: chunk_h, 279: [len(data) for data in chunks]}
    entries |= {284: 2} if planar else {}
    entries |= {317: predictor} if predictor > 1 else {}
    entries |= {266: fill_order} if fill_order > 1 else {}
    entries |= {339: [3] * channels} if bits == 32 else {}
    entries |= tags or {}
    entries = {tag: value if isinstance(value, (list, bytes)) else [value] for tag, value in sorted(entries.items()) if tag not in drop}
    long = "Q" if big else "I"
    width_of = 8 if big else 4
    head = (order.encode().replace(b"<", b"II").replace(b">", b"MM")) + (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    at = len(head) + (8 if big else 2) + (20 if big else 12) * len(entries) + width_of
    blobs = b""
    places = []
    for data in chunks:
        places.append(at + len(blobs))
        blobs += data + b"\0" * (len(data) % 2)
    for tag in (273, 324):
        if tag in entries:
            entries[tag] = places
    body = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, value in entries.items():
        if isinstance(value, bytes):
            code, count, data = 7, len(value), value
        else:
            code, letter = (16 if big else 4, long) if tag in (273, 279, 324, 325) else (3, "H")
            count, data = len(value), struct.pack(f"{order}{len(value)}{letter}", *value)
        if len(data) > width_of:
            place = at + len(blobs)
            blobs += data + b"\0" * (len(data) % 2)
            data = struct.pack(order + long, place)
        body += struct.pack(order + "HH" + long, tag, code, count) + data.ljust(width_of, b"\0")
    return head + body + struct.pack(order + long, 0) + blobs


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
    save("orientation9.tiff", photo(size), tiffinfo={0x0112: 9})
    grey = np.random.default_rng(10).integers(0, 1 << 16, (23, 37)).astype(np.uint16)
    sha256 = deep(grey[..., None].repeat(3, axis=2))
    save("grey16.tiff", Image.fromarray(grey), known=dict(depth=16, sha256=sha256))
    pages = [photo(size), photo(size).rotate(180)]
    save("pages.tiff", pages[0], save_all=True, append_images=pages[1:])
    photo(size, "CMYK").save(OUT / "cmyk.tiff")
    refuse("cmyk.tiff", "E_UNSUPPORTED", "PhotometricInterpretation 5 (CMYK)")
    save("palette.tiff", photo(size).quantize(100))
    save("la.tiff", photo(size, "LA"))
    save("white_is_zero.tiff", photo(size, "L"), tiffinfo={262: 0})
    photo(size, "F").save(OUT / "float.tiff")
    refuse("float.tiff", "E_RANGE", "outside of 0..1")
    photo(size).save(OUT / "jpeg.tiff", compression="jpeg")
    refuse("jpeg.tiff", "E_UNSUPPORTED", "Compression 7 (JPEG)")
    tiff_storage()
    tiff_pixels()
    tiff_refused()


def tiff_storage():
    """Every way to store 8 bits: byte order, BigTIFF, compression, planes, tiles, strips."""
    rgb = np.asarray(photo(SIZES[1]))
    names = {1: "raw", 5: "lzw", 8: "deflate", 32946: "old_deflate", 32773: "packbits"}
    for compression, text in names.items():
        for planar in (False, True):
            for tile in (None, (16, 16)):
                name = f"{text}{'_planar' if planar else ''}{'_tiled' if tile else ''}"
                data = dict(compression=compression, planar=planar, tile=tile, rows=7)
                write(f"store_{name}.tiff", tiff_file(rgb, **data))
                if compression in (5, 8):
                    write(f"store_{name}_predictor.tiff", tiff_file(rgb, **data, predictor=2))
    for order, letter in (("<", "ii"), (">", "mm")):
        for big in (False, True):
            for planar, tile in ((False, None), (True, (16, 16))):
                name = f"{'big' if big else 'small'}_{letter}{'_planes_tiled' if planar else ''}.tiff"
                data = dict(order=order, planar=planar, tile=tile, rows=5)
                # PIL does not know big-endian BigTIFF.
                clean = tiff_file(rgb, **data) if big and order == ">" else None
                assert (tifffile.imread(io.BytesIO(tiff_file(rgb, **data, big=big))).size == rgb.size)
                write(name, tiff_file(rgb, **data, big=big), clean=clean)
    for tile in ((64, 64), (48, 16), (16, 48), (40, 24)):
        write(f"tiles_{tile[0]}x{tile[1]}.tiff", tiff_file(rgb, tile=tile))
    write("one_row_strips.tiff", tiff_file(rgb, rows=1))
    write("no_strip_lengths.tiff", tiff_file(rgb, drop=(279,)))
    write("no_rows_per_strip.tiff", tiff_file(rgb, drop=(278,)))
    write("one_bits_value.tiff", tiff_file(rgb, tags={258: 8}))
    write("sample_formats.tiff", tiff_file(rgb, tags={339: [1, 1, 1]}))
    write("broken_icc.tiff", tiff_file(rgb, tags={34675: b"x"}), profile=True)
    # A profile outside of the file, and tags that are unknown.
    data = bytearray(tiff_file(rgb, tags={34675: b"profile!", 65000: [7, 8, 9]}))
    place = data.index(struct.pack("<HHI", 34675, 7, 8)) + 8
    data[place : place + 4] = struct.pack("<I", 1 << 30)
    (OUT / "lost_icc.tiff").write_bytes(data)
    sha256 = hashlib.sha256(rgb.tobytes()).hexdigest()
    rows.append(["lost_icc.tiff", 37, 23, 8, 0, 1, 0, sha256, "", "", ""])


def tiff_pixels():
    """Every kind of pixels, with extra samples, of few or many bits, and of floats."""
    random = np.random.default_rng(14)
    rgb = np.asarray(photo(SIZES[1]))
    more = random.integers(0, 256, (23, 37, 3)).astype(np.uint8)
    alpha = np.asarray(photo(SIZES[1], "RGBA"))[..., 3:]
    six = np.concatenate([rgb, alpha, more[..., :2]], axis=2)
    for extra in ([0], [1], [2], [0, 0], [1, 0], [2, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]):
        samples = six[..., : 3 + len(extra)]
        name = f"extra_{''.join(map(str, extra))}"
        known = {} if extra[0] != 1 else dict(black="", white="")
        write(f"{name}.tiff", tiff_file(samples, tags={338: extra}))
        write(f"{name}_deflate.tiff", tiff_file(samples, compression=8, tile=(16, 16), tags={338: extra}))
    for extra in ([0], [1], [2]):
        data = tiff_file(six[..., :4], planar=True, compression=8, tags={338: extra})
        write(f"extra_{extra[0]}_planar.tiff", data)
    write("extra_2_planar_raw.tiff", tiff_file(six[..., :4], planar=True, tags={338: [2]}))
    write("extra_undeclared.tiff", tiff_file(six[..., :4]))
    for extra in (0, 2):
        write(f"grey_extra_{extra}.tiff", tiff_file(six[..., 2:4], photometric=1, tags={338: [extra]}))
    for bits in (1, 2, 4, 8):
        grey = random.integers(0, 1 << bits, (23, 37, 1))
        colors = random.integers(0, 1 << 16, 3 << bits).tolist()
        for photometric, tags in ((0, {}), (1, {}), (3, {320: colors})):
            for fill_order in (1, 2):
                name = f"bits{bits}_photometric{photometric}{'_reversed' if fill_order == 2 else ''}.tiff"
                # PIL leaves the reversed bits of some kinds to libtiff, which it asks if there is compression.
                compression = 8 if fill_order == 2 and (photometric == 3 or bits == 8) else 1
                options = dict(tags=tags, fill_order=fill_order, compression=compression)
                write(name, tiff_file(grey, bits, photometric, **options))
        # Tiles whose rows of bits do not fill bytes.
        write(f"bits{bits}_tiled.tiff", tiff_file(grey, bits, 1, tile=(16, 16), compression=8))
    write("rgb_reversed.tiff", tiff_file(rgb, fill_order=2))
    write("rgb_reversed_deflate.tiff", tiff_file(rgb, fill_order=2, compression=8))
    deep16 = random.integers(0, 1 << 16, (23, 37, 4)).astype(np.uint16)
    for order, letter in (("<", "ii"), (">", "mm")):
        for compression, predictor in ((1, 1), (8, 2), (5, 1)):
            name = f"{letter}_{compression}_{predictor}.tiff"
            options = dict(order=order, compression=compression, predictor=predictor)
            known = dict(depth=16, sha256=deep(deep16[..., :3]))
            write(f"rgb16_{name}", tiff_file(deep16[..., :3], 16, **options), **known)
            grey = deep16[..., :1]
            known["sha256"] = deep(grey.repeat(3, axis=2))
            write(f"grey16_{name}", tiff_file(grey, 16, 1, **options), **known)
    known = dict(depth=16, sha256=deep(deep16[..., :3]))
    write("rgb16_planar.tiff", tiff_file(deep16[..., :3], 16, planar=True, tile=(16, 16)), **known)
    write("rgbx16.tiff", tiff_file(deep16, 16, tags={338: [0]}), **known)
    write("rgba16.tiff", tiff_file(deep16, 16, tags={338: [2]}), alpha=True, black="", white="", **known)
    units = random.random((23, 37, 4)).astype(np.float32)
    cases = [(1, 1, False, None), (1, 1, True, (16, 16)), (8, 1, False, None), (8, 2, False, None), (8, 3, False, (16, 16)), (5, 3, True, None)]
    for order, letter in (("<", "ii"), (">", "mm")):
        for compression, predictor, planar, tile in cases:
            options = dict(order=order, compression=compression, predictor=predictor, planar=planar, tile=tile)
            name = f"{letter}_{compression}_{predictor}{'_planar' if planar else ''}{'_tiled' if tile else ''}.tiff"
            data = tiff_file(units[..., :3], 32, **options)
            float_twin(f"float_rgb_{name}", data, units[..., :3])
            if not planar:
                data = tiff_file(units[..., :1], 32, 1, **options)
                float_twin(f"float_grey_{name}", data, units[..., :1].repeat(3, axis=2))
    float_twin("float_rgbx.tiff", tiff_file(units, 32, tags={338: [0]}), units[..., :3])
    float_twin("float_rgba.tiff", tiff_file(units, 32, tags={338: [2]}), units[..., :3], 1)
    data = tiff_file(units[..., :1], 32, 1, tags={274: 6})
    float_twin("float_turned.tiff", data, np.rot90(units[..., :1].repeat(3, axis=2), -1))


def float_twin(name, data, rgb, alpha=0):
    """Adds the row of a file of floats, of which tifffile knows what they are."""
    (OUT / name).write_bytes(data)
    if "turned" not in name and "planar" not in name:
        found = tifffile.imread(io.BytesIO(data)).reshape(rgb.shape[0], rgb.shape[1], -1)[..., :3]
        assert (np.broadcast_to(found, rgb.shape) == rgb).all(), name
    height, width = rgb.shape[:2]
    rows.append([name, width, height, 32, alpha, 1, 0, floats(rgb), "", "", ""])


def tiff_refused():
    """One file for each field that can hold a value that is not known."""
    rgb = np.asarray(photo(SIZES[1]))
    grey = rgb[..., :1]
    case = lambda name, reason, data: refuse(f"refused_{name}.tiff", "E_UNSUPPORTED", reason, data)
    names = {2: "CCITT", 3: "fax 3", 4: "fax 4", 6: "old JPEG", 7: "JPEG", 34712: "JPEG 2000"}
    names |= {34661: "JBIG", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 777: ""}
    for compression, text in names.items():
        case(f"compression{compression}", text or "Compression 777", tiff_file(rgb, tags={259: compression}))
    case("zstandard", "Zstandard", tifffile_bytes(rgb, compression="zstd"))
    for photometric in (4, 5, 6, 8, 9, 10, 32803, 34892, 77):
        case(f"photometric{photometric}", f"PhotometricInterpretation {photometric}", tiff_file(rgb, tags={262: photometric}))
    case("no_photometric", "without PhotometricInterpretation", tiff_file(rgb, drop=(262,)))
    for kind, text in ((2, "signed"), (4, "undefined"), (5, "complex"), (6, "complex"), (9, "SampleFormat 9")):
        case(f"format{kind}", text, tiff_file(rgb, tags={339: [kind] * 3}))
    case("format_mixed", "SampleFormat [1, 1, 3]", tiff_file(rgb, tags={339: [1, 1, 3]}))
    for bits in (3, 5, 12, 16, 24, 64):
        data = tiff_file(np.zeros((23, 37, 1), np.uint16), 16, 1, tags={258: bits}) if bits != 16 else tiff_file(grey.astype(np.uint16), 16, 0)
        case(f"bits{bits}", f"BitsPerSample {bits}", data)
    case("bits_mixed", "BitsPerSample [5, 6, 5]", tiff_file(rgb, tags={258: [5, 6, 5]}))
    case("float16", "BitsPerSample 16", tiff_file(grey.astype(np.uint16), 16, 1, tags={339: 3}))
    case("white_is_zero_float", "SampleFormat 3 (float)", tiff_file(grey.astype(np.float32), 32, 0))
    for extra in ([3], [999], [0, 2], [2, 1], [1, 1]):
        samples = np.concatenate([rgb, rgb], axis=2)[..., : 3 + len(extra)]
        case(f"extra{''.join(map(str, extra))}", f"ExtraSamples {extra}".replace("[", "[").strip(), tiff_file(samples, tags={338: extra}))
    case("extra_grey_associated", "ExtraSamples [1]", tiff_file(rgb[..., :2], photometric=1, tags={338: [1]}))
    case("extra_undeclared", "SamplesPerPixel 5 with ExtraSamples []", tiff_file(np.concatenate([rgb, rgb[..., :2]], axis=2)))
    case("extra_wrong", "SamplesPerPixel 3 with ExtraSamples [2]", tiff_file(rgb, tags={338: [2]}))
    case("samples7", "SamplesPerPixel 7", tiff_file(rgb, tags={277: 7}))
    case("planes3", "PlanarConfiguration 3", tiff_file(rgb, tags={284: 3}))
    case("fill_order3", "FillOrder 3", tiff_file(rgb, tags={266: 3}))
    case("fill_order16", "FillOrder 2", tiff_file(grey.astype(np.uint16), 16, 1, tags={266: 2}))
    rgba = np.concatenate([rgb, rgb[..., :1]], axis=2)
    case("fill_order_alpha", "FillOrder 2", tiff_file(rgba, tags={266: 2, 338: [2]}))
    case("predictor4", "Predictor 4", tiff_file(rgb, compression=8, tags={317: 4}))
    case("predictor3", "Predictor 3", tiff_file(rgb, compression=8, tags={317: 3}))
    case("predictor_raw", "Predictor 2", tiff_file(rgb, tags={317: 2}))
    case("predictor_packbits", "Predictor 2", tiff_file(rgb, compression=32773, tags={317: 2}))
    case("predictor_bits", "Predictor 2", tiff_file(grey // 16, 4, 1, compression=8, tags={317: 2}))
    old = bytearray(tiff_file(rgb, compression=5))
    place = old.index(imagecodecs.lzw_encode(rgb.tobytes())[:8])
    old[place : place + 2] = b"\0\1"
    case("old_lzw", "Compression 5 of the old kind", bytes(old))
    case("offsets4", "BigTIFF with offsets of 4 bytes", tiff_file(rgb, big=True).replace(b"+\0\x08\0", b"+\0\x04\0", 1))
    broken = lambda name, reason, data: refuse(f"broken_{name}.tiff", "E_DECODE", reason, data)
    broken("rows0", "RowsPerStrip", tiff_file(rgb, tags={278: 0}))
    broken("tile0", "tag 322", tiff_file(rgb, tile=(16, 16), tags={322: 0}))
    broken("strips", "strips or tiles, expected", tiff_file(rgb, rows=7, tags={278: 5}))
    broken("short", "pixels up to byte", tiff_file(rgb, tags={257: 9000, 278: 9000}))
    broken("deflate", "strip or tile 0", tiff_file(rgb, compression=1, tags={259: 8}))
    broken("lzw", "strip or tile 0", tiff_file(rgb, compression=1, tags={259: 5}))
    broken("no_width", "tag 256", tiff_file(rgb, drop=(256,)))
    broken("palette", "ColorMap", tiff_file(grey, 8, 3, tags={320: [1, 2, 3]}))
    data = bytearray(tiff_file(rgb))
    data[4:8] = struct.pack("<I", 1 << 30)
    broken("directory", "the file ends", bytes(data))


def tifffile_bytes(samples, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, photometric="rgb", **options)
    return file.getvalue()


def gif_file(indices, *, screen=None, palette=None, local=None, left=0, top=0, transparent=None,
             interlaced=False, version=b"89a", extensions=b"", after=b"", bits=8):
    """A GIF of one frame of indices (row, column)."""
    height, width = indices.shape
    table = lambda colors: len(colors).bit_length() - 2
    flags = 0x80 | table(palette) if palette is not None else 0
    data = b"GIF" + version + struct.pack("<HHBBB", *(screen or (width, height)), flags, 3, 0)
    data += np.asarray(palette if palette is not None else [], np.uint8).tobytes() + extensions
    if transparent is not None:
        data += b"!\xf9\4" + bytes([1, 0, 0, transparent]) + b"\0"
    flags = (0x40 if interlaced else 0) | (0x80 | table(local) if local is not None else 0)
    data += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    data += np.asarray(local if local is not None else [], np.uint8).tobytes() + bytes([bits])
    if interlaced:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
        indices = indices[order]
    # Codes without compression: the table is cleared before a code grows.
    clear, codes = 1 << bits, []
    for at, index in enumerate(indices.reshape(-1).tolist()):
        codes += ([clear] if at % ((1 << bits) - 2) == 0 else []) + [index]
    stream = sum(code << (bits + 1) * at for at, code in enumerate(codes + [clear + 1]))
    stream = stream.to_bytes(((bits + 1) * (len(codes) + 1) + 7) // 8, "little")
    blocks = (stream[at : at + 255] for at in range(0, len(stream), 255))
    return data + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0" + after + b";"


def gif():
    size = SIZES[1]
    random = np.random.default_rng(15)
    indices = random.integers(0, 256, (23, 37))
    colors = random.integers(0, 256, (256, 3))
    ramp = np.arange(256)[:, None].repeat(3, axis=1)
    for mode in ("1", "L"):
        save(f"{mode.lower()}.gif", photo(size, mode))
    save("rgb.gif", photo(size))
    save("p.gif", photo(size).quantize(20))
    save("rgba.gif", photo(size, "RGBA"))
    save("interlaced.gif", photo(size), interlace=True)
    frames = [photo(size), photo(size).rotate(180), photo(size).rotate(90)]
    save("animated.gif", frames[0], save_all=True, append_images=frames[1:], disposal=2)
    write("plain.gif", gif_file(indices, palette=colors))
    write("87a.gif", gif_file(indices, palette=colors, version=b"87a"))
    write("by_hand_interlaced.gif", gif_file(indices, palette=colors, interlaced=True))
    write("local.gif", gif_file(indices, palette=colors, local=colors[::-1]))
    write("local_only.gif", gif_file(indices, local=colors[::-1]))
    write("local_ramp_only.gif", gif_file(indices, local=ramp))
    # PIL takes the global palette for these.
    for name, local in (("local_ramp", ramp), ("local_short_ramp", ramp[:8])):
        data = gif_file(indices, palette=colors, local=local)
        refuse(f"{name}.gif", "E_UNSUPPORTED", "a local palette of greys", data)
    write("global_ramp.gif", gif_file(indices, palette=ramp, local=colors))
    write("no_palette.gif", gif_file(indices))
    write("short_palette.gif", gif_file(indices, palette=colors[:16]))
    write("small_codes.gif", gif_file(indices % 4, palette=colors[:4], bits=2))
    write("part.gif", gif_file(indices[:9, :20], screen=size, palette=colors, left=5, top=7))
    options = dict(screen=size, palette=colors, left=5, top=7)
    write("part_transparent.gif", gif_file(indices[:9, :20], transparent=77, **options))
    write("beyond.gif", gif_file(indices, screen=(20, 10), palette=colors))
    write("no_screen.gif", gif_file(indices, screen=(0, 0), palette=colors))
    write("transparent.gif", gif_file(indices % 16, palette=colors[:16], transparent=3))
    write("transparent_unused.gif", gif_file(indices % 16, palette=colors[:16], transparent=200))
    comment = b"!\xfe\5hello\0" + b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    write("extensions.gif", gif_file(indices, palette=colors, extensions=comment))
    write("unknown_extension.gif", gif_file(indices, palette=colors, extensions=b"!\x42\3abc\0"))
    broken = b"!\xff\3abc\0!\xf9\1\1\0"
    clean = gif_file(indices, palette=colors)
    write("broken_extension.gif", gif_file(indices, palette=colors, extensions=broken), clean=clean)
    write("between_blocks.gif", gif_file(indices, palette=colors, extensions=b"\0\0"))
    write("trailing.gif", gif_file(indices, palette=colors, after=b"!\xfe\1x\0"))
    good = gif_file(indices, palette=colors)
    refuse("no_image.gif", "E_DECODE", "holds no image", good[:781] + b";")
    refuse("short.gif", "E_DECODE", "codes for", good[:1200])
    for bits in (0, 9, 12):
        place = 781 + 10
        data = good[:place] + bytes([bits]) + good[place + 1 :]
        refuse(f"codes{bits}.gif", "E_UNSUPPORTED", f"a code size of {bits} bits", data)


def containers():
    """Formats that are not read, and files that are no images."""
    rgb = photo(SIZES[1])
    for name, text in (("jp2", "JPEG 2000"), ("j2k", "JPEG 2000"), ("tga", "TGA"), ("ico", "ICO"), ("pcx", "PCX"), ("sgi", "SGI"), ("dds", "DDS"), ("qoi", "QOI")):
        rgb.resize((20, 11)).save(OUT / f"other.{name}")
        refuse(f"other.{name}", "E_UNSUPPORTED", f"{text} files are not supported; convert to PNG")
    runs = io_bytes(rgb.resize((20, 11)), "TGA", compression="tga_rle")
    refuse("other_rle.tga", "E_UNSUPPORTED", "TGA", runs)
    refuse("other_grey.tga", "E_UNSUPPORTED", "TGA", io_bytes(rgb.convert("L").resize((9, 9)), "TGA"))
    refuse("other.avif", "E_UNSUPPORTED", "AVIF", b"\0\0\0\x1cftypavif" + bytes(40))
    refuse("other.heic", "E_UNSUPPORTED", "HEIC", b"\0\0\0\x18ftypheic" + bytes(40))
    refuse("other.jxl", "E_UNSUPPORTED", "JPEG XL", imagecodecs.jpegxl_encode(np.asarray(rgb)[:9, :9]))
    refuse("other_boxed.jxl", "E_UNSUPPORTED", "JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40))
    refuse("other.psd", "E_UNSUPPORTED", "Photoshop", b"8BPS" + bytes(40))
    refuse("other.exr", "E_UNSUPPORTED", "OpenEXR", b"\x76\x2f\x31\1" + bytes(40))
    refuse("other.pdf", "E_UNSUPPORTED", "PDF", b"%PDF-1.7\n")
    refuse("lfs.png", "E_NOT_IMAGE", "git lfs pull", b"version https://git-lfs.github.com/spec/v1\n")
    refuse("page.jpg", "E_NOT_IMAGE", "a web page", b"<!DOCTYPE html><html>404</html>")
    refuse("text.png", "E_NOT_IMAGE", "not an image; expected PNG", b"hello, this is text")


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
    grey = bytes(random.integers(0, 256, width * height).astype(np.uint8))
    head = b"%d %d 255\n" % size
    write("comments.pgm", b"P5 # one\n#two\n" + head[:-1].replace(b" ", b" #three\n") + b"\n" + grey)
    write("tabs.pgm", b"P5\t" + head.replace(b" ", b"\r\n\t") + grey)
    write("plain_comments.pgm", b"P2 2 2 9 # c\n1 2 # three\n3\n4")
    write("packed.pbm", b"P1 4 2\n0110 1#c\n001\n")
    write("above.pgm", b"P5 2 2 100\n" + bytes([99, 100, 101, 255]))
    write("trailing.pgm", b"P5 " + head + grey + b"more")
    refuse("short.pgm", "E_DECODE", "ends at byte", b"P5 " + head + grey[:-1])
    refuse("above_plain.pgm", "E_DECODE", "above 9", b"P2 2 1 9 10 1")
    refuse("letters.pbm", "E_DECODE", "among bits", b"P1 2 1 0x")
    refuse("maximum0.pgm", "E_DECODE", "a largest sample of 0", b"P5 1 1 0\n0")
    refuse("float.pfm", "E_UNSUPPORTED", "PFM", b"Pf\n1 1\n-1.0\n0000")


def main() -> None:
    """Writes every twin and expected.csv."""
    OUT.mkdir(exist_ok=True)
    for path in OUT.iterdir():
        path.unlink()
    for make in (jpeg, png, webp, gif, bmp, tiff, pnm, containers):
        make()
    with (OUT / "expected.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow("name,width,height,depth_bits,alpha,orientation,profile,sha256,black,white,reason".split(","))
        table.writerows(rows)


if __name__ == "__main__":
    main()
