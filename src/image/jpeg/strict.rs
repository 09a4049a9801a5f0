//! An error manager for libjpeg that takes damaged data for what it is.
//!
//! libjpeg fills what is missing with grey, or continues with garbage, and only warns. A score of
//! such pixels would be wrong in silence, so the warnings of damage are errors here.
#![allow(unsafe_code, reason = "libjpeg calls back through C function pointers")]

use std::os::raw::c_int;

use mozjpeg_sys::{
    JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_JPEG_EOF, JWRN_MUST_RESYNC, jpeg_common_struct,
    jpeg_error_mgr, jpeg_std_error,
};

/// Warnings after which the pixels are not those that were encoded.
const DAMAGE: [c_int; 4] = [JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_JPEG_EOF, JWRN_MUST_RESYNC];
/// The level with which libjpeg marks a warning; other levels are traces.
const WARNING: c_int = -1;

/// libjpeg's own manager, except that errors and damage unwind with their text.
pub(super) fn error_manager() -> jpeg_error_mgr {
    // SAFETY: the struct holds integers, function pointers in `Option`s and raw pointers: zeros are
    // valid for all of them, and `jpeg_std_error` fills in the functions.
    let mut manager: jpeg_error_mgr = unsafe { std::mem::zeroed() };
    // SAFETY: it writes the fields of the struct and returns its address.
    unsafe { jpeg_std_error(&mut manager) };
    manager.error_exit = Some(unwind);
    manager.emit_message = Some(unwind_for_damage);
    manager
}

extern "C-unwind" fn unwind(info: &mut jpeg_common_struct) {
    // Unlike `panic!` this does not call the panic hook.
    std::panic::resume_unwind(Box::new(message(info)));
}

extern "C-unwind" fn unwind_for_damage(info: &mut jpeg_common_struct, level: c_int) {
    // SAFETY: libjpeg sets the pointer to the manager that called us, which is alive.
    let code = unsafe { (*info.err).msg_code };
    if level == WARNING && DAMAGE.contains(&code) {
        unwind(info);
    }
}

/// The text of the message that libjpeg has just prepared.
fn message(info: &mut jpeg_common_struct) -> String {
    // SAFETY: as above; the function was set by `jpeg_std_error`.
    let Some(format) = (unsafe { (*info.err).format_message }) else { return String::new() };
    let mut text = [0u8; 80];
    // SAFETY: libjpeg writes at most 80 bytes, ended by a zero, through the second argument. The
    // binding declares it as a shared reference; the types differ in nothing else.
    unsafe {
        let format: unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &mut [u8; 80]) =
            std::mem::transmute(format);
        format(info, &mut text);
    }
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
