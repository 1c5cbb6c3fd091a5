//! Makes the golden streams that are missing, or those that are named, anew: `./x testdata [NAME…]`.

use std::path::Path;

use anyhow::{Result, ensure};
use vmferry_tests::captures::{CAPTURES, WRAPPED};

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted == ["--list"] {
        for capture in CAPTURES {
            println!("{}", capture.row());
        }
        return Ok(());
    }
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let (mut found, mut failed) = (0, 0);
    let mut tell = |name: &str, made: Result<u64>| match made {
        Ok(bytes) => println!("{name}: {bytes} bytes"),
        Err(error) => {
            eprintln!("{error:#}");
            failed += 1;
        }
    };
    let folder = testdata.join("streams");
    for capture in CAPTURES {
        for release in capture.releases {
            let name = format!("{release}-{}", capture.name);
            let named = wanted.contains(&name);
            if named || wanted.is_empty() && !capture.is_in(&folder, *release) {
                tell(&name, capture.take(*release, &folder));
            }
            found += usize::from(named);
        }
    }
    let folder = testdata.join("containers");
    for wrapped in WRAPPED {
        let named = wanted.iter().any(|name| name == wrapped.file);
        if named || wanted.is_empty() && !folder.join(wrapped.file).exists() {
            tell(wrapped.file, wrapped.take(&folder));
        }
        found += usize::from(named);
    }
    ensure!(
        found == wanted.len(),
        "not all of {wanted:?} are names, such as 10.0-q35-small or libvirt-9.0-raw.save"
    );
    ensure!(failed == 0, "{failed} were not made");
    Ok(())
}
