//! SplitMix64 (Steele, Lea and Flood, 2014): a small generator of pseudorandom numbers whose
//! sequence follows from its seed on every platform. Not for secrets.

/// The generator.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64 { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number in [0, 1): the upper 53 of the next 64 bits, times 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (-53f64).exp2()
    }

    /// The next whole number below `len`, uniform but for a bias of less than `len` / 2^64
    /// (Lemire's multiplication).
    pub fn below(&mut self, len: usize) -> usize {
        ((u128::from(self.bits()) * len as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published outputs for seed 1234567.
    #[test]
    fn outputs_are_the_published_ones() {
        let mut random = SplitMix64::new(1_234_567);
        let outputs = [6_457_827_717_110_365_317u64, 3_203_168_211_198_807_973];
        assert_eq!(outputs.map(|_| random.bits()), outputs);
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.unit(), (outputs[0] >> 11) as f64 / (1u64 << 53) as f64);
    }
}
