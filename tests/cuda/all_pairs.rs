//! Every two images of a folder: each goes through the trunk once, and its scores are those of pairs.

use crate::job::{Evaluated, Job, write_noise};
use crate::machine::Machine;

/// Images that went through a trunk.
fn passes(evaluated: &Evaluated) -> usize {
    let printed = evaluated.ran.stderr();
    let line =
        printed.lines().find_map(|line| line.strip_prefix("images that went through a trunk: "));
    line.unwrap_or_else(|| panic!("{printed}")).parse().unwrap()
}

/// Seven images of a size of which a micro-batch of pairs has room for 16, and so for fewer than
/// their 21 pairs; and their maps, whose room on the device is reckoned otherwise.
#[test]
fn n_images_cost_n_passes_and_score_as_pairs_do() {
    let job = Job::of(&[]);
    let set = job.folder().join("set");
    fs_err::create_dir(&set).unwrap();
    let names: Vec<String> = (0..7).map(|index| index.to_string()).collect();
    let mut manifest = "ref,dist,id\n".to_owned();
    for (index, name) in names.iter().enumerate() {
        write_noise(&set.join(format!("{name}.ppm")), (400, 300), index as u64, 99);
        for other in &names[index + 1..] {
            manifest.push_str(&format!("set/{name}.ppm,set/{other}.ppm,{name}--{other}\n"));
        }
    }
    fs_err::write(job.folder().join("m.csv"), manifest).unwrap();
    let machine = Machine::new();
    for options in [&["--per-layer"][..], &["--semantic-layer", "2"]] {
        let options = [options, &["--device", "cuda", "-v"]].concat();
        let of_pairs = job.eval(&machine, &options);
        of_pairs.ran.expect(0);
        assert!(passes(&of_pairs) > names.len());
        let run = job.folder().join(format!("run{}", options.len()));
        let args = ["eval", "--all-pairs", "set", "-o", run.to_str().unwrap()];
        let ran = machine.lpips(job.folder(), &[&args[..], &options].concat());
        let of_set = Evaluated { ran, run };
        of_set.ran.expect(0);
        assert_eq!(passes(&of_set), names.len());
        let values = of_set.values();
        assert_eq!(values.len(), names.len() * (names.len() - 1) / 2);
        assert_eq!(values, of_pairs.values());
    }
}
