//! The only place where a kernel is launched. It compares the arguments with the table of entries.
#![expect(unsafe_code, reason = "kernel launches")]

use std::ffi::c_void;
use std::fmt;

use cudarc::driver::sys;

use super::super::driver::{DevicePtr, Fault, FaultKind, Function, Stream, check};
use super::super::signature::{Arg, Element, Entry, entry};
use super::super::status::call;
use super::{Format, Kernels};

/// The name of a kernel in its parts: launches compare them, and only the first one spells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    stem: &'static str,
    format: Option<Format>,
    channels: Option<usize>,
}

impl Name {
    /// Of the only kernel with this stem.
    pub(super) fn plain(stem: &'static str) -> Name {
        Name { stem, format: None, channels: None }
    }

    /// Of the kernel for activations of this format.
    pub(super) fn of(stem: &'static str, format: Format) -> Name {
        Name { format: Some(format), ..Name::plain(stem) }
    }

    /// That for so many channels, where there are several.
    pub(super) fn with_channels(self, channels: usize) -> Name {
        Name { channels: Some(channels), ..self }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.stem)?;
        self.format.map_or(Ok(()), |format| write!(out, "_{}", format.suffix()))?;
        self.channels.map_or(Ok(()), |channels| write!(out, "_c{channels}"))
    }
}

/// A kernel that is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    pub(super) entry: &'static Entry,
    function: Function,
}

/// One argument of a launch.
pub(super) enum Value {
    Ptr(DevicePtr),
    U32(u32),
    F32(f32),
}

pub(super) fn extent(value: usize) -> Result<Value, Fault> {
    let extent = u32::try_from(value);
    extent.map(Value::U32).map_err(|_| internal(format!("extent {value}"), "above 2^32"))
}

pub(super) fn internal(call: String, reason: &str) -> Fault {
    Fault::new(call, reason, FaultKind::Fatal)
}

impl Kernels {
    /// The kernel of this name, whose module is loaded now if it was not before.
    pub(super) fn find(&self, name: Name) -> Result<Kernel, Fault> {
        if let Some((_, kernel)) = self.found.borrow().iter().find(|(known, _)| *known == name) {
            return Ok(*kernel);
        }
        let unknown = || internal(format!("launch of `{name}`"), "there is no such kernel");
        let entry = entry(&name.to_string()).ok_or_else(unknown)?;
        let is_loaded = self.modules.borrow().iter().any(|(module, _)| *module == entry.module);
        if !is_loaded {
            self.load(entry.module)?;
        }
        let modules = self.modules.borrow();
        let module = modules.iter().find(|(module, _)| *module == entry.module);
        let (_, module) = module.ok_or_else(unknown)?;
        let kernel = Kernel { entry, function: module.function(entry.name)? };
        self.found.borrow_mut().push((name, kernel));
        Ok(kernel)
    }

    pub(super) fn launch(
        &self,
        stream: &Stream,
        name: Name,
        groups: usize,
        items: usize,
        args: &[Value],
    ) -> Result<(), Fault> {
        let Kernel { entry, function } = self.find(name)?;
        let launch = || format!("launch of `{name}`");
        if args.len() != entry.args.len() {
            let reason = format!("{} arguments, expected {}", args.len(), entry.args.len());
            return Err(internal(launch(), &reason));
        }
        for (value, (argument, kind)) in args.iter().zip(entry.args) {
            fits(value, *kind).map_err(|reason| {
                internal(launch(), &format!("argument `{argument}`: {reason}"))
            })?;
        }
        let blocks = (items <= u32::MAX as usize)
            .then(|| entry.blocks(groups as u64, items as u64))
            .flatten()
            .ok_or_else(|| internal(launch(), &format!("{groups} x {items} items are too many")))?;
        let mut pointers: Vec<*mut c_void> = args
            .iter()
            .map(|value| match value {
                Value::Ptr(DevicePtr(address)) => (&raw const *address).cast_mut().cast(),
                Value::U32(value) => (&raw const *value).cast_mut().cast(),
                Value::F32(value) => (&raw const *value).cast_mut().cast(),
            })
            .collect();
        // SAFETY: number and kinds of the arguments were compared with the entry's; the driver
        // copies their values before it returns. The walk guarantees that buffers are large enough.
        let status = unsafe {
            call!(sys::cuLaunchKernel(
                function.0,
                blocks,
                1,
                1,
                entry.threads,
                1,
                1,
                0,
                stream.handle(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            ))
        };
        check(&launch(), status)
    }
}

fn fits(value: &Value, kind: Arg) -> Result<(), String> {
    // Partial sums of layers follow each other without gaps; all other buffers are read in vectors.
    let alignment = match kind.element() {
        Some(Element::F64) => 8,
        _ => 16,
    };
    match (value, kind) {
        (Value::U32(_), Arg::U32) | (Value::F32(_), Arg::F32) => Ok(()),
        (Value::Ptr(DevicePtr(0)), Arg::OutOrNull(_)) => Ok(()),
        (Value::Ptr(DevicePtr(0)), kind) if kind.element().is_some() => Err("is null".to_owned()),
        (Value::Ptr(DevicePtr(address)), kind) if kind.element().is_some() => {
            match address % alignment {
                0 => Ok(()),
                _ => Err(format!("{address:#x} is not aligned to {alignment} bytes")),
            }
        }
        _ => Err(format!("expected {kind:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_table() {
        assert_eq!(Name::plain("finish").to_string(), "finish");
        assert_eq!(Name::of("max_pool", Format::NhwcF16).to_string(), "max_pool_nhwc_f16");
        let tap = Name::of("tap", Format::NchwF32).with_channels(64);
        assert_eq!(tap.to_string(), "tap_nchw_f32_c64");
    }

    #[test]
    fn arguments_are_compared_with_the_table() {
        let buffer = Arg::In(Element::F32);
        assert!(fits(&Value::Ptr(DevicePtr(4096)), buffer).is_ok());
        assert!(fits(&Value::Ptr(DevicePtr(4100)), buffer).is_err());
        assert!(fits(&Value::Ptr(DevicePtr(0)), buffer).is_err());
        assert!(fits(&Value::Ptr(DevicePtr(0)), Arg::OutOrNull(Element::F32)).is_ok());
        assert!(fits(&Value::U32(7), Arg::F32).is_err());
        assert!(fits(&Value::F32(7.0), Arg::F32).is_ok());
        assert!(fits(&Value::F32(7.0), buffer).is_err());
    }
}
