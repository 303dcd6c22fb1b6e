//! The root stage, as far as it needs no root; the rest is in tests/root.

use std::path::Path;
use std::process::Command;

use super::support::need;

#[test]
fn the_functions_for_scripts_are_portable_shell() {
    need!("shellcheck");
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/root/kconfig.sh");
    let output = Command::new("shellcheck").arg("--shell=sh").arg(functions).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
