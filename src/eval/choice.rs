//! The device and the convolution engine that a user asks for, as the command line spells them.

/// What computes. It is parsed from `auto`, `cpu`, `cuda`, `cuda:0,2` or `cuda:all`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// CUDA if it works, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs, and nothing else.
    Cuda(Gpus),
}

/// Which GPUs to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gpus {
    /// The first that the process sees.
    First,
    /// These, by index among those that the process sees.
    These(Vec<usize>),
    /// Every one that can be used.
    All,
}

/// What convolves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConvChoice {
    /// cuDNN if it is there, else cuBLAS.
    #[default]
    Auto,
    /// cuDNN, with bias and ReLU fused.
    Cudnn,
    /// Matrix products of cuBLAS.
    Cublas,
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => return Ok(Device::Auto),
            "cpu" => return Ok(Device::Cpu),
            "cuda" => return Ok(Device::Cuda(Gpus::First)),
            "cuda:all" => return Ok(Device::Cuda(Gpus::All)),
            _ => {}
        }
        let expected = "expected `auto`, `cpu`, `cuda`, `cuda:all`, or GPUs such as `cuda:0,2`";
        let list = text.strip_prefix("cuda:").ok_or(expected)?;
        let mut ordinals: Vec<usize> = Vec::new();
        for one in list.split(',') {
            let ordinal = one.parse().map_err(|_| expected)?;
            if ordinals.contains(&ordinal) {
                return Err(format!("GPU {ordinal} is named twice"));
            }
            ordinals.push(ordinal);
        }
        Ok(Device::Cuda(Gpus::These(ordinals)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_people_write_them() {
        let these = |ordinals: &[usize]| Ok(Device::Cuda(Gpus::These(ordinals.to_vec())));
        assert_eq!("auto".parse(), Ok(Device::Auto));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(Gpus::First)));
        assert_eq!("cuda:all".parse(), Ok(Device::Cuda(Gpus::All)));
        assert_eq!("cuda:1".parse(), these(&[1]));
        assert_eq!("cuda:2,0".parse(), these(&[2, 0]));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:0,", "cuda:-1", "cuda:0,0", "CPU", "mps"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
