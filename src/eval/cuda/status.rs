//! Calls of NVIDIA's libraries whose statuses stay the integers that they are.
//!
//! cudarc declares statuses as enums, and a value that its enum lacks is undefined behaviour, such
//! as a code of a newer library. So [`call!`] looks a function up by itself: with the arguments
//! that cudarc declares, and an integer as its result.
#![expect(unsafe_code, reason = "calls of functions that are looked up by name")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use libloading::Library;

/// A function as cudarc declares it.
pub(super) trait Declared {
    /// Its type in the library, with an integer as its result.
    type Foreign: Copy;
}

/// Implements [`Declared`] for functions of so many arguments, and of fewer.
macro_rules! declared {
    ($($first:ident $($argument:ident)*)?) => {
        impl<Status $(, $first $(, $argument)*)?> Declared
            for unsafe fn($($first $(, $argument)*)?) -> Status
        {
            type Foreign = unsafe extern "C" fn($($first $(, $argument)*)?) -> c_int;
        }
        $(declared!($($argument)*);)?
    };
}
declared!(A B C D E F G H I J K L M N O P Q R S T U V W);

/// The function `name` of a library. The probe has found that it is there.
pub(super) fn find<F: Declared>(
    address: &OnceLock<usize>,
    library: &Library,
    name: &str,
    _declared: F,
) -> F::Foreign {
    const { assert!(size_of::<F::Foreign>() == size_of::<usize>()) };
    let address = address.get_or_init(|| {
        // SAFETY: the symbol is looked up as an address, and not called through this type.
        let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
        *symbol.expect("the probe looked it up") as usize
    });
    // SAFETY: an address of a function; its type is that of cudarc's declaration, but for the
    // result, which is an integer in C.
    unsafe { std::mem::transmute_copy(address) }
}

/// Calls a function of cudarc's module `$sys`; gives its status.
macro_rules! call {
    ($sys:ident::$name:ident($($argument:expr),* $(,)?)) => {{
        static ADDRESS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        use $crate::eval::cuda::status::find;
        let declared: unsafe fn($($crate::eval::cuda::status::any!($argument)),*) -> _ =
            $sys::$name;
        let function = find(&ADDRESS, $sys::culib(), stringify!($name), declared);
        function($($argument),*)
    }};
}
pub(super) use call;

/// A type that is inferred, for each argument.
macro_rules! any {
    ($argument:expr) => {
        _
    };
}
pub(super) use any;

/// A status as the library's function `name` names it, with its number.
///
/// # Safety
/// `name` must take a status, and return text that lives as long as the library.
pub(super) unsafe fn named(library: &Library, name: &str, status: c_int) -> String {
    type Name = unsafe extern "C" fn(c_int) -> *const c_char;
    // SAFETY: guaranteed by the caller.
    let text = unsafe {
        match library.get::<Name>(name.as_bytes()) {
            Ok(function) => function(status),
            Err(_) => std::ptr::null(),
        }
    };
    // SAFETY: as above.
    unsafe { shown(text, status) }
}

/// A status with its name, if it has one.
///
/// # Safety
/// `name` must be null or text.
pub(super) unsafe fn shown(name: *const c_char, status: c_int) -> String {
    if name.is_null() {
        return format!("status {status}");
    }
    // SAFETY: guaranteed by the caller.
    format!("{} ({status})", unsafe { CStr::from_ptr(name) }.to_string_lossy())
}
