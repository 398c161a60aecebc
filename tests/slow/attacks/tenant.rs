//! An ordinary user of the host, with a home and programs, in namespaces that end with the test.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::host::Host;
use crate::machine::{is_root_for, run, say, wait_until};

/// The tenant. No entry of `/etc/passwd` has this number.
pub const TENANT: u32 = 64_123;
/// The service's user.
pub const SERVICE: u32 = 64_200;

const INSIDE: &str = "CERTHOOK_TEST_INSIDE";
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slow/attacks");

/// Runs a test in PID, mount and network namespaces of its own: its processes, mounts and ports are no other test's, and
/// end with it. `test` is the test's full name. Lines that begin with `|` are shown.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !is_root_for(test) {
        return;
    }
    let (_, name) = test.split_once("::").expect("a crate's name");
    // The shell is the namespace's first process: it collects the processes that lose their parents.
    let output = Command::new("unshare")
        .args(["--pid", "--mount", "--net", "--fork", "--mount-proc", "--kill-child"])
        .args(["sh", "-c", "ip link set lo up && \"$@\"; exit $?", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}, in namespaces of its own: {}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "{name} is not a test's name\n{text}");
    for line in text.lines().filter(|line| line.starts_with('|')) {
        say(line);
    }
}

/// The arguments of `setpriv` for the service: its user, and the two capabilities that its unit gives it.
pub fn as_service() -> Vec<String> {
    let caps = "-all,+kill,+dac_read_search";
    let mut words: Vec<String> = ["setpriv", "--clear-groups", "--no-new-privs"].map(str::to_owned).to_vec();
    words.extend([format!("--reuid={SERVICE}"), format!("--regid={SERVICE}")]);
    words.extend(["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}={caps}")));
    words
}

/// The next agent of a host is the service.
pub fn run_as_service(host: &mut Host) {
    fs::create_dir_all(host.state_dir()).unwrap();
    run("chown", &["-R", &format!("{SERVICE}:{SERVICE}"), host.state_dir().to_str().unwrap()]).unwrap();
    let words = as_service();
    host.set_wrapper(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Mounts one directory at the place of another, in this test's namespace.
pub fn bind(from: &Path, at: &str) {
    run("mount", &["--bind", from.to_str().unwrap(), at]).unwrap();
}

/// An empty directory at the place of another, in this test's namespace.
pub fn empty(at: &str) {
    run("mount", &["-t", "tmpfs", "tmpfs", at]).unwrap();
}

/// Starts a host's nginx as its package does: it is found without a word in certhook's configuration.
pub fn start_as_packaged(host: &mut Host) {
    host.nginx.stop();
    bind(host.nginx.prefix(), "/etc/nginx");
    // For the pid files that nginx's relatives leave.
    empty("/run");
    host.nginx.set_packaged();
    host.nginx.start_again();
}

/// Makes a path somebody's.
pub fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
}

/// What is put in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    Pipe,
    Socket,
    Device,
    Directory,
}

impl Thing {
    pub const ALL: [Self; 4] = [Self::Pipe, Self::Socket, Self::Device, Self::Directory];

    /// Puts it in the place of a file, as the tenant can: under another name first, then renamed.
    pub fn replace(self, path: &Path) {
        let new = path.with_extension("new");
        match self {
            Self::Pipe => run("mkfifo", &[new.to_str().unwrap()]).unwrap(),
            Self::Socket => drop(std::os::unix::net::UnixListener::bind(&new).unwrap()),
            // Only root can make a device; a link to one is as good.
            Self::Device => symlink("/dev/zero", &new).unwrap(),
            Self::Directory => {
                fs::create_dir(&new).unwrap();
                let _ = fs::remove_file(path);
            }
        }
        std::os::unix::fs::lchown(&new, Some(TENANT), Some(TENANT)).unwrap();
        fs::rename(&new, path).unwrap();
    }

    /// Puts a regular file in its place again.
    pub fn put_back(self, path: &Path, bytes: &[u8]) {
        let new = path.with_extension("new");
        fs::write(&new, bytes).unwrap();
        give(&new, TENANT);
        if self == Self::Directory {
            fs::remove_dir(path).unwrap();
        }
        fs::rename(&new, path).unwrap();
    }
}

/// The tenant's home, and what is found in it.
pub struct Tenant {
    pub home: PathBuf,
    marks: PathBuf,
}

impl Tenant {
    /// A user with a home below a host's directory, a program and a module for nginx: both leave a mark when they run.
    pub fn new(host: &Host) -> Self {
        let root = host.path().join("home");
        fs::create_dir(&root).unwrap();
        let (home, marks) = (root.join("x"), root.join("marks"));
        for (path, mode) in [(&root, 0o755), (&home, 0o755), (&marks, 0o1777)] {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let tenant = Self { home, marks };
        let (home, marks) = (tenant.home.display(), tenant.marks.display());
        // It answers as nginx does, so that more is asked of it.
        let program = format!(
            "#!/bin/sh\n: >{marks}/program-run-by-uid-$(id -u).$$\necho \"nginx version: nginx/1.22.1\nconfigure \
             arguments: --prefix={home} --conf-path={home}/evil.conf --pid-path={home}/evil.pid\" >&2\n"
        );
        tenant.write("prog", &program, 0o755);
        let config =
            format!("load_module {home}/evil.so;\nevents {{}}\nhttp {{ include {home}/*.vhost; }}\n");
        tenant.write("evil.conf", &config, 0o644);
        let marks = format!("-DMARKS=\"{marks}\"");
        compile("module.c", &tenant.path("evil.so"), &["-shared", "-fPIC", &marks]);
        compile("fake.c", &tenant.path("wait"), &[&marks, &format!("-DTENANT={TENANT}")]);
        give(&tenant.home, TENANT);
        tenant
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// A file of the tenant's.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        give(&self.path(name), TENANT);
    }

    /// What of the tenant's was executed since this was asked last.
    pub fn executed(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.marks).unwrap().flatten();
        let mut found: Vec<String> = entries
            .map(|entry| {
                fs::remove_file(entry.path()).unwrap();
                let name = entry.file_name().into_string().unwrap();
                name.split('.').next().unwrap().to_owned()
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// A process of the tenant's that calls itself by a title and waits.
    pub fn fake(&self, title: &str) -> Fake {
        Fake::start(&self.path("wait"), title)
    }

    /// The same by a program of root's that is set-user-ID, as `passwd` and `su` are. `programs` is a directory of root's.
    pub fn fake_of_setuid_program(&self, programs: &Path, title: &str) -> Fake {
        let program = programs.join("wait");
        if !program.exists() {
            fs::copy(self.path("wait"), &program).unwrap();
            fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
        }
        let fake = Fake::start(&program, title);
        assert!(fake.said().starts_with(&format!("ready {TENANT} 0\n")), "not set-user-ID: {}", fake.said());
        fake
    }
}

/// A process that calls itself an nginx master; it ends when dropped.
pub struct Fake {
    child: Child,
    notes: File,
    heard: usize,
}

impl Fake {
    fn start(program: &Path, title: &str) -> Self {
        let notes = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(program)
            .arg0(title)
            .env_clear()
            .uid(TENANT)
            .gid(TENANT)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(notes.reopen().unwrap())
            .spawn()
            .unwrap();
        let fake = Self { child, notes: notes.into_file(), heard: 0 };
        wait_until("the tenant's process waits", || fake.said().starts_with("ready "));
        fake
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn said(&self) -> String {
        use std::io::Seek as _;
        let mut text = String::new();
        let mut notes = &self.notes;
        notes.rewind().unwrap();
        notes.read_to_string(&mut text).unwrap();
        text
    }

    /// The signals that it was sent since this was asked last.
    pub fn signals(&mut self) -> Vec<String> {
        let said = self.said();
        let all: Vec<String> =
            said.lines().filter(|line| line.starts_with("signal ")).map(str::to_owned).collect();
        let mut new = all[self.heard..].to_vec();
        self.heard = all.len();
        if let Some(status) = self.child.try_wait().unwrap() {
            new.push(format!("ended: {status}"));
        }
        new
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compiles a program of the tenant's.
pub fn compile(source: &str, to: &Path, more: &[&str]) {
    let source = format!("{SOURCES}/{source}");
    run("cc", &[&["-O1", "-o", to.to_str().unwrap()], more, &[source.as_str()]].concat()).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}
