//! The disk that loses its power: an ext4 file system in a file, mounted through a loop device and
//! stopped by FS_IOC_SHUTDOWN, or, where that may not be mounted, a directory that is cut back to
//! what was synced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand_chacha::ChaCha8Rng;

use crate::control::Control;
use crate::cut_back::Recording;
use crate::engine::Places;
use crate::system::{Child, cut_power, sync_file_system};

const IMAGE_BYTES: u64 = 48 << 20;

pub enum Disk {
    Ext4 {
        image: PathBuf,
        mount: PathBuf,
    },
    /// The directory, and where its changes are recorded.
    Directory {
        root: PathBuf,
        log: PathBuf,
    },
}

impl Disk {
    /// A disk in `scratch`: a real file system if it can be had, and may.
    pub fn new(scratch: &Path, may_mount: bool) -> Disk {
        let (image, mount) = (scratch.join("image"), scratch.join("mount"));
        fs::create_dir_all(&mount).expect("the scratch directory has room");
        let made = fs::File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        let is_made = may_mount
            && made.is_ok()
            && run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0"], &[&image]);
        let disk = Disk::Ext4 { image, mount };
        if is_made && disk.mount() {
            return disk;
        }
        let root = scratch.join("disk");
        fs::create_dir_all(&root).expect("the scratch directory has room");
        Disk::Directory { root, log: scratch.join("changes") }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Disk::Ext4 { .. } => "ext4 that was shut down",
            Disk::Directory { .. } => "a directory cut back to what was synced",
        }
    }

    pub fn places(&self) -> Places {
        let (Disk::Ext4 { mount: root, .. } | Disk::Directory { root, .. }) = self;
        Places { root: root.join("trial") }
    }

    /// Everything that is there now is on disk.
    pub fn settle(&self, control: &Control) {
        match self {
            Disk::Ext4 { mount, .. } => sync_file_system(mount),
            Disk::Directory { log, .. } => {
                let _ = fs::remove_file(log);
                control.record_into(None);
            }
        }
    }

    /// Before the worker starts, and after `settle`: what to cut back to.
    pub fn begin(&self, control: &Control) -> Option<Recording> {
        let Disk::Directory { root, log } = self else { return None };
        control.record_into(Some(log));
        Some(Recording::begin(root))
    }

    /// The power goes, at whatever moment this is, and the worker with it.
    ///
    /// It is stopped first, since a real cut leaves nobody to hear what a call returns: while ext4
    /// is being shut down, an fdatasync that is under way may return 0 with nothing on disk. A
    /// plain program that appends and syncs "lost" such a record in 16 of 600 cuts, and in none of
    /// 300 when it was stopped first.
    pub fn cut(&self, worker: &Child) {
        if let Disk::Ext4 { mount, .. } = self {
            worker.stop();
            assert!(cut_power(mount), "the file system cannot be shut down");
        }
        worker.kill();
    }

    /// The power is back.
    pub fn come_back(
        &self,
        control: &Control,
        recording: Option<Recording>,
        random: &mut ChaCha8Rng,
    ) {
        match (self, recording) {
            (Disk::Ext4 { mount, .. }, _) => {
                assert!(run("umount", &[], &[mount]), "the file system cannot be unmounted");
                assert!(self.mount(), "the file system cannot be mounted again");
            }
            (Disk::Directory { root, log }, Some(recording)) => {
                control.record_into(None);
                recording.cut_back(root, log, random);
            }
            (Disk::Directory { .. }, None) => {}
        }
    }

    fn mount(&self) -> bool {
        let Disk::Ext4 { image, mount } = self else { return false };
        run("mount", &["-t", "ext4", "-o", "loop"], &[image, mount])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Disk::Ext4 { mount, .. } = self {
            run("umount", &[], &[mount]);
        }
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command
        .args(options)
        .args(paths)
        .env_remove("LD_PRELOAD")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
