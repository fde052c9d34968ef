//! The files that the sandbox sees: which ones, and the read-only root made of them.
//!
//! Every place is resolved before anything is covered by a mount, and bound through a descriptor, so an interpreter under `/tmp` or in a
//! home folder works as well as the system's.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::attempt::{Attempt, Failure};
use crate::sys::check;

/// Public system files that an interpreter and its packages load, where they exist.
const SYSTEM: &[&str] =
    &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/alternatives", "/usr/share/zoneinfo"];

/// The devices that the sandbox has.
pub const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// Where the new root is put together. It exists everywhere, and is covered, not changed.
const WORKSHOP: &CStr = c"/tmp";

/// Where a call finds its scratch folder. Not /tmp, where an interpreter may be.
pub const SCRATCH: &str = "/scratch";

/// Where packages are found that lie outside of the system's and the interpreter's folders. A program that looks at paths, and an error
/// message that names one, is the same on every machine and for every user.
pub const PACKAGES: &str = "/packages";

/// As the kernel: more links than this on one path are a loop.
const LINKS_MAX: usize = 40;

/// The files that the sandbox sees.
#[derive(Debug, Default, PartialEq)]
pub struct Tree {
    /// Files and folders: where they are seen, and their real paths; none lies below another.
    binds: BTreeMap<PathBuf, PathBuf>,
    /// Symbolic links on the way to them, and their targets.
    links: BTreeMap<PathBuf, PathBuf>,
    /// Folders of which only some of the content is readable, but whose content may be listed, as Python's `import` does.
    listed: Vec<PathBuf>,
}

impl Tree {
    /// The tree with the system's public libraries and `paths`; the folders `listed`, by their real paths, may be listed.
    pub fn with<'a>(paths: impl Iterator<Item = &'a Path>, listed: &[PathBuf]) -> Attempt<Self> {
        let mut tree = Self { listed: listed.to_vec(), ..Self::default() };
        for path in SYSTEM.iter().map(Path::new).filter(|p| p.exists()) {
            tree.add(path).attempt_at("reading", path)?;
        }
        for path in paths {
            tree.add(path).attempt_at("reading", path)?;
        }
        tree.drop_nested();
        Ok(tree)
    }

    /// The same files for a root of its own, with packages in [`PACKAGES`]. What is part of a folder that is readable as a whole stays there.
    pub fn with_packages_moved(mut self) -> Self {
        let places = std::mem::take(&mut self.listed);
        for place in places {
            if self.binds.keys().any(|bind| place.starts_with(bind)) {
                self.listed.push(place);
                continue;
            }
            let here = |path: &PathBuf| path.parent() == Some(&place);
            let links: Vec<PathBuf> = self.links.extract_if(.., |path, _| here(path)).map(|(path, _)| path).collect();
            let files: Vec<PathBuf> = self.binds.extract_if(.., |path, _| here(path)).map(|(path, _)| path).collect();
            for path in links.iter().chain(&files) {
                // In two places, the first one counts, as on Python's path. A link that leads nowhere is left out.
                if let (Some(name), Ok(real)) = (path.file_name(), fs::canonicalize(path)) {
                    self.binds.entry(Path::new(PACKAGES).join(name)).or_insert(real);
                }
            }
            let packages = PathBuf::from(PACKAGES);
            let moved = self.binds.keys().any(|bind| bind.starts_with(&packages));
            if moved && !self.listed.contains(&packages) {
                self.listed.push(packages);
            }
        }
        self
    }

    /// Where everything that is readable is seen, without the devices.
    pub fn binds(&self) -> impl Iterator<Item = &Path> {
        self.binds.keys().map(PathBuf::as_path)
    }

    /// The folders that packages are in, in the order of Python's path; they may be listed, beside those that are readable.
    pub fn listed(&self) -> impl Iterator<Item = &Path> {
        self.listed.iter().map(PathBuf::as_path)
    }

    /// Follows `path` to its end, noting the links on the way.
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let mut real = PathBuf::from("/");
        let mut rest: VecDeque<OsString> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            if !fs::symlink_metadata(&next)?.is_symlink() {
                real = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            for component in components(&target).into_iter().rev() {
                rest.push_front(component);
            }
            self.links.insert(next, target);
        }
        self.binds.insert(real.clone(), real);
        Ok(())
    }

    fn drop_nested(&mut self) {
        let all = self.binds.clone();
        let below_another = |path: &Path| path.ancestors().skip(1).any(|above| all.contains_key(above));
        self.binds.retain(|path, _| !below_another(path));
        self.links.retain(|path, _| !below_another(path));
    }

    /// Makes this tree, read-only, the root of the mount namespace and detaches everything else.
    pub fn become_root(&self) -> Attempt<()> {
        const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
        // All sources are looked at before the workshop covers some of them.
        let mut mounts = Vec::new();
        for (path, real) in &self.binds {
            mounts.push((path.as_path(), real.is_dir(), copy_of_mount(real, READ_ONLY | libc::MOUNT_ATTR_NODEV)?));
        }
        for path in DEVICES.iter().map(Path::new) {
            mounts.push((path, false, copy_of_mount(path, READ_ONLY | libc::MOUNT_ATTR_NOEXEC)?));
        }
        mount_workshop()?;
        let workshop = Path::new(OsStr::from_bytes(WORKSHOP.to_bytes()));
        for (path, is_folder, mount) in &mounts {
            let place = below(workshop, path);
            make_mount_point(&place, *is_folder).attempt_at("making a place for", path)?;
            put_mount(mount, &place)?;
        }
        for (path, target) in &self.links {
            let place = below(workshop, path);
            make_parent(&place).and_then(|()| symlink(target, &place)).attempt_at("linking", path)?;
        }
        fs::create_dir_all(workshop.join("tmp")).attempt("making /tmp")?;
        fs::create_dir_all(below(workshop, Path::new(SCRATCH))).attempt("making a place for scratch folders")?;
        pivot()
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir)).map(|c| c.as_os_str().to_owned()).collect()
}

/// `path`, which is absolute, inside of `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)
}

fn make_mount_point(place: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        return fs::create_dir_all(place);
    }
    make_parent(place)?;
    File::create(place).map(drop)
}

fn c_path(path: &Path) -> Attempt<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from).attempt_at("naming", path)
}

/// A detached copy of what is mounted at `path` and below, with more restrictive attributes.
fn copy_of_mount(path: &Path, attributes: u64) -> Attempt<OwnedFd> {
    let name = c_path(path)?;
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: names are C strings and `attributes` is passed with its size; the descriptor is new and belongs to nobody else.
    unsafe {
        let fd =
            check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, name.as_ptr(), flags)).attempt_at("copying the mount of", path)?;
        let tree = OwnedFd::from_raw_fd(fd as i32);
        let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
        let size = size_of::<libc::mount_attr>();
        check(libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &attributes, size))
            .attempt_at("making read-only", path)?;
        Ok(tree)
    }
}

fn put_mount(mount: &OwnedFd, place: &Path) -> Attempt<()> {
    let name = c_path(place)?;
    // SAFETY: names are C strings and the descriptor is open.
    let result = unsafe {
        libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, name.as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH)
    };
    check(result).map(drop).attempt_at("mounting at", place)
}

fn mount_workshop() -> Attempt<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let options = c"size=1m,mode=755";
    // SAFETY: every argument is a C string.
    let result = unsafe { libc::mount(c"tmpfs".as_ptr(), WORKSHOP.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()) };
    check(result).map(drop).attempt("mounting a private root")
}

/// Changes the root to the workshop, detaches the old one, and makes the new one read-only.
fn pivot() -> Attempt<()> {
    let read_only = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: every path is a C string, and `read_only` is passed with its size. Pivoting `.` onto `.` stacks the old root on the new
    // one at the same place, from where it is detached (pivot_root(2)).
    unsafe {
        check(libc::chdir(WORKSHOP.as_ptr())).attempt("entering the private root")?;
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr())).attempt("changing the root")?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH)).attempt("detaching the old root")?;
        check(libc::chdir(c"/".as_ptr())).attempt("entering the new root")?;
        let size = size_of::<libc::mount_attr>();
        check(libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, c"/".as_ptr(), 0, &read_only, size))
            .attempt("making the root read-only")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_on_the_way_are_kept_and_nested_places_are_not() {
        let folder = std::env::temp_dir().join(format!("agent0-tree-{}", std::process::id()));
        fs::create_dir_all(folder.join("real/lib/inner")).unwrap();
        symlink("real", folder.join("alias")).unwrap();
        symlink(folder.join("alias/lib"), folder.join("lib")).unwrap();
        let folder = fs::canonicalize(&folder).unwrap();

        let mut tree = Tree::default();
        tree.add(&folder.join("lib/inner")).unwrap();
        tree.add(&folder.join("real/lib/../lib")).unwrap();
        tree.drop_nested();
        fs::remove_dir_all(&folder).unwrap();

        assert_eq!(tree.binds().collect::<Vec<_>>(), [folder.join("real/lib")]);
        assert_eq!(tree.links.keys().collect::<Vec<_>>(), [&folder.join("alias"), &folder.join("lib")]);
    }

    #[test]
    fn packages_move_unless_they_are_part_of_a_folder() {
        let folder = std::env::temp_dir().join(format!("agent0-places-{}", std::process::id()));
        for path in ["env/a", "env/b", "system/site/c", "other/a", "elsewhere/d"] {
            fs::create_dir_all(folder.join(path)).unwrap();
        }
        symlink("../elsewhere/d", folder.join("env/d")).unwrap();
        let folder = fs::canonicalize(&folder).unwrap();

        let without = Tree { listed: vec![folder.join("env")], ..Tree::default() };
        assert_eq!(without.with_packages_moved(), Tree::default(), "no package, no folder for them");

        let mut tree = Tree { listed: ["env", "system/site", "other"].map(|place| folder.join(place)).into(), ..Tree::default() };
        for path in ["env/a", "env/b", "env/d", "system", "other/a"] {
            tree.add(&folder.join(path)).unwrap();
        }
        let tree = tree.with_packages_moved();
        fs::remove_dir_all(&folder).unwrap();

        let seen = |name: &str| (Path::new(PACKAGES).join(name), folder.join(if name == "d" { "elsewhere" } else { "env" }).join(name));
        let stay = |name: &str| (folder.join(name), folder.join(name));
        assert_eq!(tree.binds, [seen("a"), seen("b"), seen("d"), stay("system"), stay("elsewhere/d")].into());
        assert_eq!(tree.listed, [PathBuf::from(PACKAGES), folder.join("system/site")]);
        assert!(tree.links.is_empty());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = std::env::temp_dir().join(format!("agent0-loop-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        symlink("b", folder.join("a")).unwrap();
        symlink("a", folder.join("b")).unwrap();
        let error = Tree::default().add(&folder.join("a")).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
