//! The disk under capture's folder is full or read-only, or the folder is gone: capture goes on reading, says so once, tells
//! `status`, and goes on storing when it can.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::wire::Status;
use tests::deadline::{SOON, wait_for};
use tests::household::Telegram;

use crate::installation::{Installation, assert_readings_are_true};

/// Needs the right to mount; elsewhere it says so.
#[test]
fn a_disk_that_others_have_filled_is_said_once_and_costs_nothing() {
    let mut house = Installation::new(81);
    let Some(disk) = SmallDisk::mount(&house.folder.join("queue")) else {
        return;
    };
    let capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(200);
    house.wait_for_head(200);

    let other = disk.path.join("other");
    use_up(&other);
    house.send(400);
    capture.wait_to_say("is full", SOON);
    // What comes free is taken as well, by the same program.
    use_up(&other);
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    let status = house.wait_for_head(head);
    let trouble = status.trouble.unwrap_or_default();
    assert!(trouble.contains("is full"), "{trouble:?}");
    assert_eq!(status.refused, 0);
    let text = house.capture(&["status"]).done().text();
    assert!(text.contains("TROUBLE") && text.contains("is full"), "{text}");
    let ledger = house.wait_for_reading(head - 1, SOON);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());

    fs::remove_file(other).unwrap();
    house.send(1);
    capture.wait_to_say("the disk has room again", SOON);
    assert_eq!(house.try_status().unwrap().trouble, None);
    let said = capture.said();
    assert_eq!(said.matches("is full").count(), 1, "{said}");
}

/// As ext4 does where its disk fails. Needs the right to mount; elsewhere it says so.
#[test]
fn a_disk_that_becomes_read_only_is_said_once_and_what_came_meanwhile_is_stored_when_it_is_mended() {
    let mut house = Installation::new(83);
    let path = house.folder.join("queue");
    let image = house.folder.join("disk.ext4");
    let Some(disk) = Ext4Disk::make_and_mount(&image, &path) else {
        return;
    };
    let capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(130);
    house.wait_for_head(130);

    disk.fail();
    house.send(70);
    let status = wait_for("capture to have read what it cannot store", SOON, || {
        let status = house.try_status()?;
        if waits_for(&status, &house.sent[130..]) {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    });
    assert_eq!(
        (status.head, status.accepted),
        (130, 130),
        "visible or counted though not durable"
    );
    let trouble = status.trouble.unwrap_or_default();
    assert!(
        trouble.to_lowercase().contains("read-only") && trouble.contains("wait in memory"),
        "{trouble:?}"
    );

    let _mended = disk.mend(&house.folder.join("mended.ext4"));
    house.wait_for_head(200);
    capture.wait_to_say("telegrams are stored again", SOON);
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    let status = house.wait_for_head(head);
    assert_eq!((status.trouble, status.refused), (None, 0));
    let ledger = house.wait_for_reading(head - 1, SOON);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    let said = capture.said();
    assert_eq!(said.matches("cannot be stored").count(), 1, "{said}");
}

#[test]
fn a_folder_that_is_gone_and_cannot_be_made_is_said_once_and_waited_for() {
    let mut house = Installation::new(82);
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    house.folder.write(
        "smartmeter.yml",
        text.replace("path: queue\n", "path: disk/queue\n"),
    );
    let disk = house.folder.join("disk");
    let capture = house.start_capture();
    house.send(20);
    house.wait_for_head(20);

    // As where a disk is taken out: nothing is there, and nothing can be made there.
    fs::remove_dir_all(&disk).unwrap();
    fs::write(&disk, "in the way").unwrap();
    house.send(30);
    let status = wait_for("capture to have read what it cannot store", SOON, || {
        let status = house.try_status()?;
        if waits_for(&status, &house.sent[20..]) {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    });
    assert_eq!(
        (status.head, status.accepted),
        (20, 20),
        "visible or counted though not durable"
    );
    let trouble = status.trouble.unwrap_or_default();
    assert!(
        trouble.contains("disk") && trouble.contains("wait in memory"),
        "{trouble:?}"
    );

    fs::remove_file(&disk).unwrap();
    house.wait_for_head(50);
    capture.wait_to_say("telegrams are stored again", SOON);
    house.send(5);
    let status = house.wait_for_head(55);
    assert_eq!((status.trouble, status.refused), (None, 0));
    let said = capture.said();
    assert_eq!(said.matches("cannot be stored").count(), 1, "{said}");
    let kept: Vec<u8> = house.sent[20..]
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect();
    assert!(house.capture(&["export", "--from", "#21"]).done().output == kept);
}

/// Writes to a file until the disk has no byte left.
fn use_up(path: &Path) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let mut size = 64 * 1024;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

/// A file system in memory of 32 MiB.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "smartmeter-test"])
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                path: path.to_owned(),
            }),
            other => {
                println!("SKIPPED: a small disk cannot be mounted here (not root?): {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A file system of ext4 in a file.
struct Ext4Disk {
    image: PathBuf,
    path: PathBuf,
}

impl Ext4Disk {
    fn make_and_mount(image: &Path, path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
        let made = Command::new("/sbin/mkfs.ext4").arg("-q").arg(image).output();
        let mounted = made.and_then(|_| Self::mount(image, path));
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                image: image.to_owned(),
                path: path.to_owned(),
            }),
            other => {
                println!("SKIPPED: an image cannot be mounted here (not root?): {other:?}");
                None
            }
        }
    }

    fn mount(image: &Path, path: &Path) -> std::io::Result<std::process::Output> {
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(path)
            .output()
    }

    /// The file system gives up, as after an error of its disk: from now on it is read-only, whatever is open.
    fn fail(&self) {
        let mut failing = Command::new("mount");
        failing.args(["-o", "remount,abort"]).arg(&self.path);
        assert!(failing.status().unwrap().success());
    }

    /// What is on it, checked and mended, in its place.
    fn mend(self, image: &Path) -> Self {
        fs::copy(&self.image, image).unwrap();
        let checked = Command::new("/sbin/e2fsck")
            .arg("-fy")
            .arg(image)
            .output()
            .unwrap();
        assert!(checked.status.code().is_some_and(|code| code < 4), "{checked:?}");
        let path = self.path.clone();
        drop(self);
        let mounted = Self::mount(image, &path).unwrap();
        assert!(mounted.status.success(), "{mounted:?}");
        Self {
            image: image.to_owned(),
            path,
        }
    }
}

impl Drop for Ext4Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Whether these telegrams, all of them, wait in memory.
fn waits_for(status: &Status, telegrams: &[Telegram]) -> bool {
    let bytes: usize = telegrams.iter().map(|telegram| telegram.bytes.len()).sum();
    let words = format!("; {bytes} bytes of telegrams wait in memory");
    status
        .trouble
        .as_ref()
        .is_some_and(|trouble| trouble.ends_with(&words))
}
