//! The noise floor: what a gate's statistic reaches between runs of one model.

/// Values of one gate's statistic between every two runs of the same model, in both directions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Noise {
    largest: Option<f64>,
}

impl Noise {
    /// Takes a value into account; `None` if it could not be computed.
    pub fn add(&mut self, value: Option<f64>) {
        self.largest = match (self.largest, value) {
            (Some(largest), Some(value)) => Some(largest.max(value)),
            (known, value) => known.or(value),
        };
    }

    /// The largest value, which a gate must not fire at.
    #[must_use]
    pub fn floor(self) -> Option<f64> {
        self.largest
    }

    /// A limit above the floor: the next larger number of two significant digits.
    #[must_use]
    pub fn suggested_limit(self) -> Option<f64> {
        self.largest.map(|floor| match floor {
            ..=0.0 => 0.0,
            floor => rounded_up(floor),
        })
    }
}

fn rounded_up(value: f64) -> f64 {
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let text = format!("{value:.1e}");
    let rounded = number(&text);
    if rounded >= value {
        return rounded;
    }
    let exponent = text.split_once('e').map_or("0", |(_, exponent)| exponent);
    let step = number(&format!("0.1e{exponent}"));
    number(&format!("{:.1e}", rounded + step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_largest_value() {
        let mut noise = Noise::default();
        assert_eq!((noise.floor(), noise.suggested_limit()), (None, None));
        [Some(-0.002), None, Some(0.001_21), Some(0.0004)]
            .into_iter()
            .for_each(|one| noise.add(one));
        assert_eq!((noise.floor(), noise.suggested_limit()), (Some(0.001_21), Some(0.0013)));
    }

    #[test]
    fn a_suggestion_is_never_below_the_floor() {
        let cases =
            [(0.0012, 0.0012), (0.001_201, 0.0013), (0.0996, 0.1), (9.96, 10.0), (0.0, 0.0)];
        for (floor, expected) in cases {
            let mut noise = Noise::default();
            noise.add(Some(floor));
            assert_eq!(noise.suggested_limit(), Some(expected));
        }
    }
}
