//! Turns the panic of a decoder into the text of an error, without a message on stderr.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_DECODING: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns, or the text of its panic. A panic of a decoder means that it cannot read
/// the file: the pair fails, and nothing is printed.
pub(super) fn caught<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(silence_decoders);
    let outer = IS_DECODING.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    IS_DECODING.set(outer);
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_default()
    })
}

/// Puts a panic hook before the current one that passes on all panics except those of decoders.
fn silence_decoders() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_DECODING.get() {
            next(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("bad {}", "block") }), Err("bad block".to_owned()));
        assert_eq!(caught(|| caught(|| -> u8 { panic!("inner") })), Ok(Err("inner".to_owned())));
        assert!(!IS_DECODING.get());
    }
}
