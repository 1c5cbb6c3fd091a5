//! Makes the golden streams that are missing, or those that are named, anew: `./x testdata [NAME…]`.

use std::path::Path;

use anyhow::{Result, ensure};
use vmferry_tests::captures::CAPTURES;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted == ["--list"] {
        for capture in CAPTURES {
            println!("{}", capture.row());
        }
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/streams");
    let (mut found, mut failed) = (0, 0);
    for capture in CAPTURES {
        for release in capture.releases {
            let name = format!("{release}-{}", capture.name);
            let named = wanted.contains(&name);
            if named || wanted.is_empty() && !capture.is_in(&folder, *release) {
                match capture.take(*release, &folder) {
                    Ok(bytes) => println!("{name}: {bytes} bytes"),
                    Err(error) => {
                        eprintln!("{error:#}");
                        failed += 1;
                    }
                }
            }
            found += usize::from(named);
        }
    }
    ensure!(
        found == wanted.len(),
        "not all of {wanted:?} are names, such as 10.0-q35-small"
    );
    ensure!(failed == 0, "{failed} were not made");
    Ok(())
}
