//! What must hold of the source itself: the oldest compiler that builds it, and crates that stay where
//! they can be replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Version numbers as they compare.
fn version(text: &str) -> Vec<u64> {
    text.split('.')
        .map(|part| part.parse().unwrap_or_else(|_| panic!("a version: {text:?}")))
        .collect()
}

#[test]
fn no_dependency_asks_for_a_newer_compiler_than_the_workspace() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ran = Command::new(cargo)
        .current_dir(root())
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version",
            "1",
            "--filter-platform",
        ])
        .arg("x86_64-unknown-linux-gnu")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let metadata: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages
        .iter()
        .find(|package| package["name"] == "capture")
        .unwrap();
    let ours = ours["rust_version"].as_str().unwrap().to_owned();
    let newer: Vec<String> = packages
        .iter()
        .filter_map(|package| Some((package, package["rust_version"].as_str()?)))
        .filter(|(_, wanted)| {
            let (mut wanted, mut ours) = (version(wanted), version(&ours));
            wanted.resize(3, 0);
            ours.resize(3, 0);
            wanted > ours
        })
        .map(|(package, wanted)| format!("{} {} wants {wanted}", package["name"], package["version"]))
        .collect();
    assert!(packages.len() > 100, "cargo metadata lists the dependencies");
    assert_eq!(newer, Vec::<String>::new(), "the workspace promises {ours}");
}

/// The platforms that images and packages are made for.
const PLATFORMS: [&str; 3] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
];

#[test]
fn the_notices_name_every_crate_that_is_in_a_program_and_no_other() {
    for program in ["capture", "publisher"] {
        let mut linked = BTreeSet::new();
        for platform in PLATFORMS {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let ran = Command::new(cargo)
                .current_dir(root())
                .args([
                    "tree",
                    "--locked",
                    "--offline",
                    "--edges",
                    "normal",
                    "--prefix",
                    "none",
                ])
                .args(["--package", program, "--target", platform])
                .output()
                .unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            let tree = String::from_utf8(ran.stdout).unwrap();
            let ours = [program, "shared"];
            linked.extend(tree.lines().filter_map(|line| {
                let (name, version) = line.split_once(" v")?;
                let version = version.split(' ').next()?;
                (!ours.contains(&name)).then(|| format!("{name} {version}"))
            }));
        }
        let notices = fs::read_to_string(root().join(program).join("THIRD-PARTY-NOTICES")).unwrap();
        let named: BTreeSet<String> = notices
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_once("  https://crates.io/crates/"))
            .map(|(name_and_version, _)| name_and_version.to_owned())
            .collect();
        assert!(linked.len() > 50, "cargo tree lists the crates: {linked:?}");
        assert_eq!(
            named, linked,
            "{program}/THIRD-PARTY-NOTICES is old: tests/supply --notices"
        );
    }
}

#[test]
fn crates_that_may_have_to_be_replaced_are_named_in_one_place_each() {
    for (name, place) in [
        ("bincode", "shared/src/wire/codec.rs"),
        ("serde_yaml", "shared/src/config/"),
        ("rumqttc", "publisher/src/mqtt"),
        ("sled", "capture/src/queue"),
        ("serialport", "capture/src/port"),
    ] {
        let mut named_in: Vec<String> = Vec::new();
        for program in ["shared/src", "capture/src", "publisher/src"] {
            for file in sources(&root().join(program)) {
                let uses = fs::read_to_string(&file)
                    .unwrap()
                    .lines()
                    .any(|line| names(line, name));
                if uses {
                    named_in.push(file.strip_prefix(root()).unwrap().display().to_string());
                }
            }
        }
        let elsewhere: Vec<&String> = named_in.iter().filter(|file| !file.starts_with(place)).collect();
        assert!(!named_in.is_empty(), "{name} is named in {place}");
        assert!(
            elsewhere.is_empty(),
            "{name} belongs to {place}, and is named in {elsewhere:?}"
        );
    }
}

/// Whether a line of code names the crate: a path that begins with it, but no text in quotes.
fn names(line: &str, name: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "_\":".contains(before))
    })
}

#[test]
fn every_source_file_says_first_what_it_is() {
    for program in [
        "shared/src",
        "capture/src",
        "publisher/src",
        "tests/src",
        "tests/it",
        "tests/demo",
    ] {
        for file in sources(&root().join(program)) {
            let text = fs::read_to_string(&file).unwrap();
            let first = text.lines().next().unwrap_or_default();
            assert!(
                first.starts_with("//! ") && first.len() > 20,
                "{}: {first:?}",
                file.display()
            );
        }
    }
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn memory_is_measured_with_the_settings_that_images_and_services_make() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let measured = read("tests/bench");
    let settings: Vec<&str> = measured
        .lines()
        .find_map(|line| line.strip_prefix("export MALLOC_"))
        .map(|first| {
            first
                .split(" ")
                .map(|setting| setting.trim_start_matches("MALLOC_"))
                .collect()
        })
        .unwrap();
    assert_eq!(settings.len(), 2, "{settings:?}");
    for place in [
        "Dockerfile.capture",
        "Dockerfile.publisher",
        "config/systemd/smartmeter-capture.service",
        "config/systemd/smartmeter-publisher.service",
    ] {
        for setting in &settings {
            assert!(
                read(place).contains(&format!("MALLOC_{setting}")),
                "{place}: {setting}"
            );
        }
    }
}
