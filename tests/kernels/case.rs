//! A case: one launch and what every buffer must hold afterwards.

use half::f16;
use lpips::eval::cuda::signature::{Element, Entry, entry};

use crate::host_cuda::{Fault, Runner, Value};

/// Numbers that look random, the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.bits()) / 4_294_967_296.0
    }

    /// Uniform in [-1, 1).
    pub(crate) fn signed(&mut self) -> f64 {
        2.0 * self.unit() - 1.0
    }
}

/// Values as a device buffer stores them, rounded to nearest.
pub(crate) fn encode(element: Element, values: &[f64]) -> Vec<u8> {
    let bytes = |value: &f64| -> Vec<u8> {
        match element {
            Element::U8 => vec![*value as u8],
            Element::U32 => (*value as u32).to_ne_bytes().into(),
            Element::F16 => f16::from_f64(*value).to_ne_bytes().into(),
            Element::F32 => (*value as f32).to_ne_bytes().into(),
            Element::F64 => value.to_ne_bytes().into(),
        }
    };
    values.iter().flat_map(bytes).collect()
}

/// What a device buffer stores.
pub(crate) fn decode(element: Element, bytes: &[u8]) -> Vec<f64> {
    let value = |bytes: &[u8]| match element {
        Element::U8 => f64::from(bytes[0]),
        Element::U32 => f64::from(u32::from_ne_bytes(bytes.try_into().unwrap())),
        Element::F16 => f16::from_ne_bytes(bytes.try_into().unwrap()).to_f64(),
        Element::F32 => f64::from(f32::from_ne_bytes(bytes.try_into().unwrap())),
        Element::F64 => f64::from_ne_bytes(bytes.try_into().unwrap()),
    };
    bytes.chunks_exact(element.bytes()).map(value).collect()
}

/// Values as the buffer stores them: what an oracle may start from.
pub(crate) fn stored(element: Element, values: &[f64]) -> Vec<f64> {
    decode(element, &encode(element, values))
}

pub(crate) fn input(element: Element, values: &[f64]) -> Value {
    Value::Buffer(element, encode(element, values))
}

/// A buffer full of NaN (for integers: of ones), which the kernel must overwrite.
pub(crate) fn output(element: Element, len: usize) -> Value {
    Value::Buffer(element, vec![0xff; len * element.bytes()])
}

pub(crate) fn number(value: usize) -> Value {
    Value::U32(u32::try_from(value).unwrap())
}

/// What one buffer must hold: a value and by how much it may differ. NaN asks for NaN.
pub(crate) struct Expected(Vec<(f64, f64)>);

impl Expected {
    pub(crate) fn exactly(values: Vec<f64>) -> Expected {
        Expected(values.into_iter().map(|value| (value, 0.0)).collect())
    }

    /// Pairs of a value and its tolerance.
    pub(crate) fn within(values: Vec<(f64, f64)>) -> Expected {
        Expected(values)
    }

    fn check(&self, found: &[f64]) -> Result<(), String> {
        assert_eq!(found.len(), self.0.len(), "a case expects a buffer of another length");
        for (index, (&found, &(expected, tolerance))) in found.iter().zip(&self.0).enumerate() {
            let right = if expected.is_nan() {
                found.is_nan()
            } else {
                found == expected || (found - expected).abs() <= tolerance
            };
            if !right {
                return Err(format!(
                    "element {index} is {found:?}, expected {expected:?} within {tolerance:e}"
                ));
            }
        }
        Ok(())
    }
}

/// One launch.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) entry: &'static Entry,
    /// Groups, and items of each.
    pub(crate) work: (usize, usize),
    pub(crate) values: Vec<Value>,
    /// What the buffers hold afterwards, outputs and the buffers named `InOut`, in their order.
    /// Inputs must not change.
    pub(crate) expected: Vec<Expected>,
}

impl Case {
    pub(crate) fn new(
        entry_name: &str,
        what: &str,
        work: (usize, usize),
        values: Vec<Value>,
        expected: Vec<Expected>,
    ) -> Case {
        let name = format!("{entry_name}, {what}");
        Case { name, entry: entry(entry_name).unwrap(), work, values, expected }
    }

    /// Launches in every order. `Err` says what went wrong first.
    pub(crate) fn check(&self, runner: &mut Runner, orders: &[u64]) -> Result<(), String> {
        let mut first: Option<Vec<Vec<u8>>> = None;
        for &order in orders {
            let buffers = runner
                .launch(self.entry, self.work, &self.values, order)
                .map_err(|Fault(words)| format!("order {order}: {words}"))?;
            self.check_buffers(&buffers).map_err(|what| format!("order {order}: {what}"))?;
            match &first {
                None => first = Some(buffers),
                Some(first) if *first != buffers => {
                    return Err(format!("order {order}: other bits, expected those of {orders:?}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_buffers(&self, buffers: &[Vec<u8>]) -> Result<(), String> {
        use lpips::eval::cuda::signature::Arg;
        let mut expected = self.expected.iter();
        let named = self.values.iter().zip(self.entry.args);
        let present = named.filter_map(|(value, arg)| match value {
            Value::Buffer(element, before) => Some((*element, before, arg)),
            _ => None,
        });
        for ((element, before, (name, kind)), after) in present.zip(buffers) {
            if matches!(kind, Arg::In(_)) {
                assert_eq!(before, after, "{name} of {} is an input", self.name);
                continue;
            }
            let expected = expected.next().expect("a case expects too few buffers");
            expected.check(&decode(element, after)).map_err(|what| format!("{name}: {what}"))?;
        }
        assert!(expected.next().is_none(), "a case expects too many buffers");
        Ok(())
    }
}
