//! libvirt, with everything that it keeps out of the way of the machine's own.

mod release;

pub use release::LibvirtRelease;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::console::{Console, Listener};
use crate::pattern::{self, Report};
use crate::root::{as_root, run};
use crate::{PATIENCE, Program, Qemu, Spec, cache};

/// A libvirt of its own: it sees no other libvirt, and no other sees it. It ends, with all that it has
/// started, when its standard input does: however we end.
#[derive(Debug)]
pub struct Libvirt {
    folder: TempDir,
    daemon: Child,
}

/// The image formats that Debian 12's libvirt (9.0) knows.
pub const IMAGE_FORMATS: [&str; 5] = ["raw", "gzip", "bzip2", "xz", "lzop"];

/// The first process of a namespace of its own: `$1` is the folder for sockets and logs, `$2` the image format; `$3`, if
/// it is not empty, has the programs and libraries that libvirt sees instead of the machine's own, and `$4` the QEMUs.
/// It reaps what libvirt leaves, which waits for the processes that it kills to be gone.
const INIT: &str = r#"
set -e
exec 3<&0
root=
if [ -n "$3" ]; then
	root=$1/root
	mkdir "$root"
	mount -t tmpfs vmferry "$root"
	for folder in etc usr tmp "$1" "$4"; do
		mkdir -p "$root/$folder"
	done
	mount --bind "$3/usr" "$root/usr"
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
	for folder in /proc /dev /sys "$1" "$4"; do
		mkdir -p "$root$folder"
		mount --rbind "$folder" "$root$folder"
	done
fi
# What belongs to a QEMU that is installed here, which is not the one that is run.
for folder in /usr/share/qemu /usr/lib/x86_64-linux-gnu/qemu; do
	[ ! -d "$root$folder" ] || mount -t tmpfs vmferry "$root$folder"
done
for folder in /run /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt; do
	# Some belong to packages that a libvirt which nobody else sees does not need.
	mkdir -p "$root$folder"
	mount -t tmpfs vmferry "$root$folder"
done
mkdir -p "$root/run/lock" "$root/etc/libvirt/qemu"
# libvirt looks its own user up before it reads that it shall not use it; the package that makes the user also
# starts services.
for names in passwd group; do
	cp "/etc/$names" "$1/$names"
	[ -e "$root/etc/$names" ] || : >"$root/etc/$names"
	grep -q '^libvirt-qemu:' "$1/$names" || case $names in
		passwd) echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' ;;
		group) echo 'libvirt-qemu:x:64055:' ;;
	esac >>"$1/$names"
	mount --bind "$1/$names" "$root/etc/$names"
done
cat >"$root/etc/libvirt/qemu.conf" <<-END
	security_driver = "none"
	user = "root"
	group = "root"
	dynamic_ownership = 0
	remember_owner = 0
	cgroup_controllers = []
	namespaces = []
	stdio_handler = "file"
	save_image_format = "$2"
END
cat >"$root/etc/libvirt/libvirtd.conf" <<-END
	unix_sock_dir = "$1"
	unix_sock_rw_perms = "0777"
	auth_unix_rw = "none"
END
chroot "$root/" /usr/sbin/libvirtd &
daemon=$!
(cat <&3 >/dev/null; kill -KILL $daemon) &
wait
"#;

impl Libvirt {
    /// Starts it; `virsh save` writes images of this format.
    ///
    /// # Errors
    /// It is not installed, or we are not root and cannot become it.
    pub fn start(release: LibvirtRelease, image_format: &str) -> Result<Self> {
        let root = release.root()?;
        let folder = TempDir::with_prefix("vmferry-libvirt-")?;
        let log = File::create(folder.path().join("log"))?;
        let mut unshare = as_root("unshare");
        unshare
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "--"])
            .args(["/bin/sh", "-c", INIT, "sh"])
            .arg(folder.path())
            .arg(image_format)
            .arg(root.unwrap_or_default())
            .arg(cache::folder()?)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let daemon = unshare.spawn().context("cannot start libvirt")?;
        let mut libvirt = Self { folder, daemon };
        let deadline = Instant::now() + PATIENCE;
        while libvirt.virsh(["uri"]).is_err() {
            let ended = libvirt.daemon.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(libvirt.path().join("log"))?;
                bail!("libvirt does not start: {}", log.trim_end());
            }
            std::thread::yield_now();
        }
        Ok(libvirt)
    }

    /// A folder that lives as long as it does.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `virsh`, and gives what it says.
    ///
    /// # Errors
    /// It fails; with its words, and the end of libvirt's log.
    pub fn virsh<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let socket = self.path().join("libvirt-sock");
        let uri = format!("qemu+unix:///system?socket={}", socket.display());
        let words: Vec<_> = words.into_iter().collect();
        let output = Command::new("/usr/bin/virsh")
            .args(["--quiet", "--connect", &uri])
            .args(&words)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "virsh {}: {}",
            words.join(" "),
            said.trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A domain like the guest of `spec`, whose console is at `listener`: the file with its XML.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn domain(&self, name: &str, spec: &Spec, listener: &Listener) -> Result<PathBuf> {
        let Program::Pattern(guest) = &spec.program else {
            bail!("only pattern guests have a domain");
        };
        ensure!(!guest.disk, "a domain has no disk");
        let boots = format!(
            "<os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel>
    <cmdline>{arguments}</cmdline>
  </os>",
            machine = spec.machine,
            kernel = pattern::kernel()?.display(),
            arguments = guest.arguments(spec.cpus),
        );
        self.describe(name, spec, &boots, listener)
    }

    /// A domain with the QEMU, memory and processors of `spec` that boots what the elements `boots` say, and whose
    /// console is at `listener`: the file with its XML.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn describe(
        &self,
        name: &str,
        spec: &Spec,
        boots: &str,
        listener: &Listener,
    ) -> Result<PathBuf> {
        let qemu = Qemu::get(spec.release)?;
        let xml = format!(
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{cpus}</vcpu>
  {boots}
  <features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <serial type='unix'>
      <source mode='connect' path='{console}'/>
      <target type='isa-debug'><model name='isa-debugcon'/></target>
      <address type='isa' iobase='0xe9'/>
    </serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-L'/>
    <qemu:arg value='{firmware}'/>
  </qemu:commandline>
</domain>
",
            memory = spec.memory_mib,
            cpus = spec.cpus,
            emulator = qemu.system().display(),
            console = listener.path().display(),
            firmware = qemu.firmware().display(),
        );
        let path = self.path().join(format!("{name}.xml"));
        fs::write(&path, xml)?;
        Ok(path)
    }

    /// Where the console of a domain is to be.
    ///
    /// # Errors
    /// There is one already.
    pub fn listen(&self) -> Result<Listener> {
        Listener::bind(&self.path().join("console"))
    }

    /// The domain that was just started, at its console.
    ///
    /// # Errors
    /// It does not come.
    pub fn hear(&self, listener: &Listener) -> Result<Console> {
        let stream = listener.accept(None, Instant::now() + PATIENCE)?;
        let stream = stream.context("the domain does not come to its console")?;
        Console::start(stream, File::create(self.path().join("console.log"))?)
    }

    /// Lets everybody read a file that libvirt has written.
    ///
    /// # Errors
    /// It is not there.
    pub fn share(&self, file: &Path) -> Result<()> {
        run(as_root("chmod").arg("a+r").arg(file))
    }
}

/// Waits for so many passes of a pattern guest, and gives the number of the last.
///
/// # Errors
/// It finds something wrong, or does not come so far.
pub fn wait_for_passes(console: &Console, count: usize) -> Result<u64> {
    let mut seen = 0;
    let deadline = Instant::now() + PATIENCE;
    let from = console.position();
    console.wait_from(from, "a pass", deadline, |line| {
        match Report::parse(&line.text) {
            Report::Bad(what) => return Some(Err(anyhow::anyhow!("the guest found: {what}"))),
            Report::Pass(pass) => {
                seen += 1;
                return (seen == count).then_some(Ok(pass));
            }
            _ => {}
        }
        None
    })?
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // The end of its input is the end of everything in its namespace.
        drop(self.daemon.stdin.take());
        let _ = self.daemon.wait();
    }
}
