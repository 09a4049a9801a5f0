//! Decoded pixels equal PIL's, bit for bit. scripts/make_jpeg_twins.py made the JPEG files and the
//! hashes of what PIL decodes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use lpips::image::Pixels;
use lpips::net::weights::sha256_hex;

use support::{csv, data, decode};

#[test]
fn jpeg_pixels_equal_pils() {
    let rows = csv(&data("jpeg/expected.csv"));
    assert!(rows.len() > 40, "the table was not read");
    for row in &rows[1..] {
        let image = decode(&data(&format!("jpeg/{}", row[0])));
        assert_eq!(image.size.to_string(), format!("{}x{}", row[1], row[2]), "{}", row[0]);
        let Pixels::U8(samples) = image.pixels else { panic!("{}: not 8 bits", row[0]) };
        assert_eq!(sha256_hex(&samples), row[3], "{}", row[0]);
    }
}

#[test]
fn a_jpeg_that_was_cut_short_is_an_error() {
    let bytes = fs_err::read(data("jpeg/420_q92_64x48_rgb.jpg")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.jpg");
    for len in [20, 300, bytes.len() / 2, bytes.len() - 2] {
        fs_err::write(&path, &bytes[..len]).unwrap();
        let error = lpips::image::decode(&path, &lpips::image::Rules::default()).unwrap_err();
        assert_eq!(error.code(), "E_DECODE", "{len} bytes: {error}");
    }
}
