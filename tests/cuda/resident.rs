//! Speed on data that is in a GPU's memory: that it is measured, and on what. Rates of a simulated
//! GPU mean nothing.

use crate::machine::Machine;

#[test]
fn resident_rates_are_measured_and_bear_the_name_of_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::new().set("FAKE_CUDA_NAME", "Imagined");
    let args = ["doctor", "--selftest", "--device", "cuda", "--net", "alex", "--sides", "31"];
    for (engine, precision) in [("cudnn", "fp32"), ("cublas", "fp16")] {
        let options = ["--conv", engine, "--precision", precision];
        let ran = machine.lpips(folder.path(), &[&args[..], &options, &["--json"]].concat());
        let found = String::from_utf8(ran.expect(0).output.stdout.clone()).unwrap();
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        let row = &found["selftest"][0];
        assert!(row["described"].as_str().unwrap().contains("Imagined"), "{row}");
        let [rates] = row["throughput"].as_array().unwrap().as_slice() else { panic!("{row}") };
        // What goes through a trunk at once is full.
        assert_eq!((rates["width"].as_u64(), rates["batch"].as_u64()), (Some(31), Some(256)));
        for name in ["pairs_per_second", "tap_bytes_per_second", "copy_bytes_per_second"] {
            let rate = rates[name].as_f64().unwrap();
            assert!(rate.is_finite() && rate > 0.0, "{name}: {rate}");
        }
    }
}
