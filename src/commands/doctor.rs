//! `lpips doctor`: lists devices, drivers and libraries, and tests a device.

mod report;
mod selftest;

use std::io::Write as _;

use self::report::Report;
use self::selftest::{Row, Status};
use crate::cli::DoctorArgs;
use crate::error::{Exit, Refusal};
use crate::eval::Device;
use crate::eval::cuda::probe::Probe;
use crate::stdout;

/// Prints the report on stdout.
///
/// # Errors
/// When the device that was asked for cannot be used, or stdout cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let probe = Probe::new(&args.cuda.cuda_libs);
    let chosen = match &args.device {
        Device::Cuda(gpus) => probe.choose(gpus),
        Device::Auto | Device::Cpu => Ok(probe.gpus.clone()),
    };
    let report = Report::new(&probe, chosen.as_ref().unwrap_or(&probe.gpus), args.cuda.conv);
    let usable = chosen.and_then(|gpus| match &args.device {
        Device::Cuda(_) => probe.engine(args.cuda.conv, &gpus, &[]).map(drop),
        Device::Auto | Device::Cpu => Ok(()),
    });
    let rows = match (&usable, args.selftest) {
        (Ok(()), true) => selftest::run(args, &probe)?,
        _ => Vec::new(),
    };
    let mut out = stdout::data();
    if args.json {
        let mut document = serde_json::to_value(&report)?;
        if args.selftest {
            document["selftest"] = serde_json::to_value(&rows)?;
        }
        serde_json::to_writer_pretty(&mut out, &document)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
        if args.selftest {
            write!(out, "\n{}", selftest::table(&rows))?;
        }
    }
    usable?;
    verdict(&rows)
}

fn verdict(rows: &[Row]) -> anyhow::Result<Exit> {
    let failed: Vec<String> =
        rows.iter().filter(|row| row.status == Status::Failed).map(Row::name).collect();
    if failed.is_empty() {
        return Ok(Exit::Complete);
    }
    Err(Refusal::environment(format!("the self-test failed: {}", failed.join("; ")))
        .hint(
            "do not score on this device; report it to the maintainers with the output of \
             `lpips doctor --selftest --json`",
        )
        .into())
}
