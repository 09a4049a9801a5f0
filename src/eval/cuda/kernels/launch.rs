//! The only place where a kernel is launched. It compares the arguments with the table of entries.
#![expect(unsafe_code, reason = "kernel launches")]

use std::ffi::c_void;

use cudarc::driver::sys;

use super::super::driver::{DevicePtr, Fault, FaultKind, Function, Stream, check};
use super::super::signature::{Arg, ENTRIES, Element, Entry};
use super::super::status::call;
use super::Kernels;

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
    pub(super) fn find(&self, name: &str) -> Result<(&'static Entry, Function), Fault> {
        if let Some(found) = self.functions.borrow().get(name) {
            return Ok(*found);
        }
        let unknown = || internal(format!("launch of `{name}`"), "there is no such kernel");
        let entry = ENTRIES.iter().find(|entry| entry.name == name).ok_or_else(unknown)?;
        self.load(entry.module)?;
        self.functions.borrow().get(name).copied().ok_or_else(unknown)
    }

    pub(super) fn launch(
        &self,
        stream: &Stream,
        name: &str,
        groups: usize,
        items: usize,
        args: &[Value],
    ) -> Result<(), Fault> {
        let (entry, function) = self.find(name)?;
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
