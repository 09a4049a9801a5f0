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
        return match decoded {
            Err(error) if error.code().as_str() == row[7] => None,
            Err(error) => Some(format!("{error}, not {}", row[7])),
            Ok(_) => Some(format!("decoded, not {}", row[7])),
        };
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
    assert!(rows.len() > 190, "the table was not read");
    let faults: Vec<String> = rows[1..]
        .iter()
        .filter_map(|row| fault(row).map(|fault| format!("{}: {fault}", row[0])))
        .collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
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
fn a_file_that_was_cut_short_is_an_error() {
    let mut faults = Vec::new();
    // Of several images the first may be whole.
    let is_single = |name: &str| !name.starts_with("animated.") && !name.starts_with("pages.");
    let rows = csv(&data("twins/expected.csv"));
    for row in rows.iter().skip(1).filter(|row| is_single(&row[0])) {
        let bytes = fs_err::read(data(&format!("twins/{}", row[0]))).unwrap();
        for len in [bytes.len() / 2, bytes.len() * 9 / 10] {
            match image::decode_bytes(&bytes[..len], &Rules::default()) {
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
