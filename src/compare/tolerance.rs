//! What the program promises about scores of two machines (docs/numerics.md).

/// Which promise holds for a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Promise {
    /// float64 on every machine, or nothing is known: any difference counts.
    #[default]
    Exact,
    /// Within `1e-5` of the value plus `1e-8` of float64.
    Fp32,
}

impl Promise {
    /// The largest difference of two scores that the promise allows, if the scores were computed
    /// in different numerics classes.
    #[must_use]
    pub fn tolerance(self, base: f64, new: f64) -> f64 {
        match self {
            Promise::Exact => 0.0,
            Promise::Fp32 => [base, new].iter().map(|value| 1e-5 * value.abs() + 1e-8).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_is_the_sum_of_both_promises() {
        assert_eq!(Promise::Exact.tolerance(0.2, 0.3), 0.0);
        assert!((Promise::Fp32.tolerance(0.2, 0.3) - 5.02e-6).abs() < 1e-18);
        assert_eq!(Promise::Fp32.tolerance(0.0, 0.0), 2e-8);
    }
}
