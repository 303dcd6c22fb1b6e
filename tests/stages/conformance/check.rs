//! Every published description, through the program: `ingot check` with all that it can tell.

use std::process::Command;

use super::super::description::published;

#[test]
fn every_published_description_is_checked_with_its_differences_and_for_farms() {
    let Some(files) = published() else { return };
    let mut told = 0;
    for file in &files {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingot"));
        let answer = command.arg("check").arg(file).args(["--differences", "--farm"]).output().unwrap();
        let said = String::from_utf8(answer.stderr).unwrap();
        let file = file.display().to_string();
        assert!(matches!(answer.status.code(), Some(0 | 65 | 66)), "{file}: {:?}\n{said}", answer.status);
        assert!(!said.contains("panicked"), "{file}: {said}");
        // Each error has its line, and a verdict on every profile and type comes last.
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        let places = said.lines().filter(|line| line.trim_start().starts_with("--> ")).count();
        assert!(places >= errors, "{file}: {errors} errors at {places} places\n{said}");
        // "invalid" is said where a script that the description names is not beside it.
        let verdict = |line: &&str| ["  ok", "  refused", "  invalid"].iter().any(|word| line.starts_with(word));
        let verdicts = said.lines().filter(verdict).count();
        assert!(verdicts > 0, "{file}: no verdict\n{said}");
        assert_eq!(answer.status.code() == Some(0), errors == 0, "{file}: {said}");
        told += said.lines().filter(|line| line.starts_with("differs: ")).count();
    }
    // One holds for each of them: what is scrubbed.
    assert!(told >= files.len(), "{told} differences in {} descriptions", files.len());
}
