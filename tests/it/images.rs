//! Decoded pixels equal PIL's, bit for bit. scripts/make_twins.py made the files and the hashes of
//! what PIL decodes.

use lpips::hash::sha256_hex;
use lpips::image::{self, Alpha, Image, Pixels, Rules};

use crate::support::{csv, data};

/// The samples as expected.csv hashes them: bytes, or little-endian float32.
fn hash(image: &Image) -> String {
    match &image.pixels {
        Pixels::U8(samples) => sha256_hex(samples),
        Pixels::F32(samples) => {
            let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes());
            sha256_hex(&bytes.collect::<Vec<u8>>())
        }
    }
}

/// What is wrong with one file; nothing if all is as expected.csv says.
fn fault(row: &[String]) -> Option<String> {
    let path = data(&format!("twins/{}", row[0]));
    let decoded = image::decode(&path, &Rules::default());
    if row[7].starts_with("E_") {
        let Err(error) = decoded else { return Some(format!("decoded, not {}", row[7])) };
        if error.code().as_str() != row[7] || !error.reason().contains(&row[10]) {
            return Some(format!("{error}, not {} with `{}`", row[7], row[10]));
        }
        // What is not supported is found without the samples.
        let header = image::header(&path).map_err(|error| error.to_string());
        return (row[7] == "E_UNSUPPORTED" && header != Err(error.to_string()))
            .then(|| format!("the header says {header:?}"));
    }
    let image = match decoded {
        Ok(image) => image,
        Err(error) => return Some(error.to_string()),
    };
    let header = image::header(&path).unwrap();
    if (header.size, header.traits) != (image.size, image.traits) {
        return Some(format!("the header says {header:?}, decoding {:?}", image.traits));
    }
    let size = image.size;
    let image::Traits { depth_bits, alpha, orientation, profile } = image.traits;
    let (alpha, profile) = (u8::from(alpha), u8::from(profile != 0));
    let pixels = hash(&image);
    let found = [
        size.width.to_string(),
        size.height.to_string(),
        depth_bits.to_string(),
        alpha.to_string(),
    ]
    .into_iter()
    .chain([orientation.to_string(), profile.to_string(), pixels]);
    let found: Vec<String> = found.collect();
    (found != row[1..8]).then(|| format!("expected {:?}\n    found    {found:?}", &row[1..8]))
}

#[test]
fn pixels_and_headers_are_those_of_pil() {
    let rows = csv(&data("twins/expected.csv"));
    assert!(rows.len() > 650, "the table was not read");
    let faults: Vec<String> = rows[1..]
        .iter()
        .filter_map(|row| fault(row).map(|fault| format!("{}: {fault}", row[0])))
        .collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// A decoder that writes into a caller's memory gives the same samples, facts and errors.
#[test]
fn a_callers_memory_gets_the_samples_that_decoding_gives() {
    let plain = Rules::default();
    let cropped = Rules { crop_border: 1, ..plain };
    let signed = Rules { range: image::Range::Signed, alpha: Alpha::White, ..plain };
    let mut decoded = 0;
    for row in csv(&data("twins/expected.csv")).iter().skip(1) {
        let path = data(&format!("twins/{}", row[0]));
        for rules in [plain, cropped, signed] {
            let lend =
                |size: image::Size, depth: image::Depth| vec![7; size.samples() * depth.bytes()];
            let expected = image::decode(&path, &rules).map(|image| {
                decoded += 1;
                image.stored(|pixels| match pixels {
                    Pixels::U8(samples) => samples,
                    Pixels::F32(samples) => bytemuck::cast_slice(&samples).to_vec(),
                })
            });
            let found = image::decode_into(&path, &rules, |_| Ok(()), lend);
            let shown = |error: image::ImageError| error.to_string();
            assert_eq!(found.map_err(shown), expected.map_err(shown), "{} {rules:?}", row[0]);
        }
    }
    assert!(decoded > 1000, "{decoded}");
}

#[test]
fn blending_alpha_is_pasting_with_a_mask() {
    let mut compared = 0;
    for row in csv(&data("twins/expected.csv")).iter().skip(1).filter(|row| !row[8].is_empty()) {
        for (alpha, expected) in [(Alpha::Black, &row[8]), (Alpha::White, &row[9])] {
            let path = data(&format!("twins/{}", row[0]));
            let image = image::decode(&path, &Rules { alpha, ..Rules::default() }).unwrap();
            assert_eq!(hash(&image), *expected, "{} {alpha:?}", row[0]);
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn a_file_that_was_cut_short_is_an_error_or_has_all_pixels() {
    let mut faults = Vec::new();
    let rows = csv(&data("twins/expected.csv"));
    for row in &rows[1..] {
        let bytes = fs_err::read(data(&format!("twins/{}", row[0]))).unwrap();
        let Ok(whole) = image::decode_bytes(&bytes, &Rules::default()) else { continue };
        for len in [bytes.len() / 2, bytes.len() * 9 / 10] {
            match image::decode_bytes(&bytes[..len], &Rules::default()) {
                // What follows the first image may be missing.
                Ok(image) if image.pixels == whole.pixels => {}
                Err(error) if ["E_DECODE", "E_UNSUPPORTED"].contains(&error.code().as_str()) => {}
                other => faults.push(format!("{} of {len} bytes: {other:?}", row[0])),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_jpeg_without_its_end_is_an_error() {
    let bytes = fs_err::read(data("twins/420_q92_64x48_rgb.jpg")).unwrap();
    for len in [20, 300, bytes.len() - 2] {
        let error = image::decode_bytes(&bytes[..len], &Rules::default()).unwrap_err();
        assert_eq!(error.code().as_str(), "E_DECODE", "{len} bytes: {error}");
    }
}

#[test]
fn only_regular_files_are_opened() {
    use std::os::unix::net::UnixListener;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    let _listener = UnixListener::bind(at("socket")).unwrap();
    let device = std::path::PathBuf::from("/dev/zero");
    for (path, name) in [
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        (device, "a device"),
        (at("."), "a folder"),
    ] {
        for error in [
            image::decode(&path, &Rules::default()).unwrap_err(),
            image::header(&path).unwrap_err(),
        ] {
            let expected = format!("{name}, expected a regular file");
            assert_eq!((error.code().as_str(), error.reason()), ("E_NOT_FILE", &*expected));
        }
    }
}

/// PIL loses the tags behind one whose values are cut off: here ExtraSamples, and so the division by
/// alpha.
#[test]
fn a_tiff_whose_deciding_tags_are_cut_off_is_damaged() {
    let bytes = fs_err::read(data("twins/extra_1.tiff")).unwrap();
    let entry = |tag: u16| {
        let start = [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes()].concat();
        bytes.windows(start.len()).position(|window| *window == start).unwrap()
    };
    for (tag, is_damaged) in [(279, true), (273, true), (277, true), (700, false)] {
        let mut cut = bytes.clone();
        let at = entry(279);
        cut[at..at + 2].copy_from_slice(&u16::to_le_bytes(tag));
        // As many values as reach beyond the end of the file.
        cut[at + 5] = 4;
        let decoded = image::decode_bytes(&cut, &Rules::default());
        match is_damaged {
            true => assert_eq!(decoded.unwrap_err().code().as_str(), "E_DECODE", "tag {tag}"),
            false => {
                let whole = image::decode_bytes(&bytes, &Rules::default()).unwrap();
                assert!(decoded.unwrap().pixels == whole.pixels);
            }
        }
    }
}

/// PIL takes the fourth plane for associated alpha if it is not declared and compressed.
#[test]
fn a_tiff_of_four_planes_must_declare_the_fourth() {
    let mut bytes = fs_err::read(data("twins/extra_0_planar.tiff")).unwrap();
    assert!(image::decode_bytes(&bytes, &Rules::default()).is_ok());
    let declared = [&338u16.to_le_bytes()[..], &3u16.to_le_bytes(), &1u32.to_le_bytes()].concat();
    let at = bytes.windows(declared.len()).position(|window| *window == declared).unwrap();
    bytes[at..at + 2].copy_from_slice(&u16::to_le_bytes(488));
    let error = image::decode_bytes(&bytes, &Rules::default()).unwrap_err();
    assert_eq!(error.code().as_str(), "E_UNSUPPORTED");
    assert!(error.reason().contains("four planes without ExtraSamples"), "{error}");
}

/// Each scan of a progressive image makes the decoder go through all coefficients.
#[test]
fn a_jpeg_of_many_scans_is_refused() {
    let bytes = fs_err::read(data("twins/progressive_64x48_rgb.jpg")).unwrap();
    let is_scan = |at: &usize| bytes[*at..].starts_with(&[0xff, 0xda]);
    let scans: Vec<usize> = (0..bytes.len()).filter(is_scan).collect();
    let (last, end) = (scans[scans.len() - 1], bytes.len() - 2);
    let repeated = bytes[last..end].repeat(1000);
    let many = [&bytes[..end], &repeated, &bytes[end..]].concat();
    let error = image::decode_bytes(&many, &Rules::default()).unwrap_err();
    assert_eq!(error.code().as_str(), "E_TOO_LARGE");
    assert!(error.reason().contains("more than 200 scans"), "{error}");
    assert!(
        error.reason().ends_with("write the image again as a plain PNG if it is none"),
        "{error}"
    );
}

/// A file that was cut short is found without decoding it, as often as its format shows its end.
/// What decodes although something follows it is no fault either.
#[test]
fn headers_find_what_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut found = std::collections::BTreeMap::new();
    for row in csv(&data("twins/expected.csv")).iter().skip(1) {
        let kind = row[0].rsplit('.').next().unwrap().to_owned();
        let shows_end = ["png", "jpg", "webp", "tiff"].contains(&kind.as_str());
        if row[7].starts_with("E_") || !shows_end {
            continue;
        }
        let bytes = fs_err::read(data(&format!("twins/{}", row[0]))).unwrap();
        let check = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            let decoded = image::decode(&path, &Rules::default());
            (decoded.map(drop), image::header(&path).map(drop))
        };
        for len in [bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 1] {
            let (decoded, header) = check(&bytes[..len]);
            if decoded.is_err() {
                assert!(header.is_err(), "{} cut to {len} of {} bytes", row[0], bytes.len());
                *found.entry(kind.clone()).or_insert(0) += 1;
            }
        }
        let (decoded, header) = check(&[&bytes[..], b"something else"].concat());
        if decoded.is_ok() {
            assert!(header.is_ok(), "{}: {header:?}", row[0]);
        }
    }
    assert!(found.len() == 4 && found.values().all(|&count| count > 50), "{found:?}");
}
