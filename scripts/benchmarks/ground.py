"""What every row stands on: ingot, its peers, and signed repositories of real packages in a folder of this machine."""
import hashlib, json, os, pathlib, shutil, subprocess, sys, threading, time
from dataclasses import dataclass
from typing import Callable, Optional

HOME = pathlib.Path(__file__).resolve().parent.parent.parent
WORK = pathlib.Path(os.environ.get("INGOT_BENCH_DIR", "/var/tmp/ingot-bench"))
INGOT = HOME / "target/release/ingot"
KIWI = WORK / "kiwi/bin/kiwi-ng"
SUITE, KEY = "bookworm", "bench@example.org"


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` and `theirs` prepare a run, outside the time, and return what is measured."""
    name: str
    what: str
    ours: Callable
    peer: str = "-"
    theirs: Optional[Callable] = None
    # At least how many times as fast as the peer.
    goal: Optional[float] = None
    # At most how many seconds.
    seconds: Optional[float] = None
    # Makes what both get, once.
    make: Callable = lambda: None
    quick: bool = False


def run(*words, **options):
    """Runs a program; its output is shown only when it fails."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout.decode(errors='replace')[-4000:]}")
    return done.stdout.decode(errors="replace")


def timed(command):
    """Seconds, and the peak resident memory in MiB of ingot's own processes (`VmHWM`, proc(5))."""
    peak, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.05):
            for process in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if os.readlink(f"/proc/{process}/exe") == str(INGOT):
                        status = pathlib.Path(f"/proc/{process}/status").read_text()
                        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                        peak[0] = max(peak[0], int(line.split()[1]) // 1024)
                except (OSError, StopIteration):
                    pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        command()
        return time.monotonic() - start, peak[0]
    finally:
        stop.set()
        watcher.join()


def need(**programs):
    run(HOME / "scripts/need", *[f"{name.replace('_', '-')}={package}" for name, package in programs.items()])


def release():
    """ingot itself."""
    run("cargo", "build", "--release", "--locked", cwd=HOME)


def kiwi_installed():
    """KIWI, from PyPI, and what it calls."""
    need(rsync="rsync", mksquashfs="squashfs-tools", kpartx="kpartx", parted="parted", grub_install="grub2-common",
         mkfs_vfat="dosfstools", qemu_img="qemu-utils", mmdebstrap="mmdebstrap", xz="xz-utils")
    if not KIWI.exists():
        run(sys.executable, "-m", "venv", WORK / "kiwi")
        run(WORK / "kiwi/bin/pip", "install", "--quiet", "kiwi")


def key():
    """A key that signs every repository of these benchmarks; made once."""
    home = WORK / "gnupg"
    if (WORK / "bench.gpg").exists():
        return home
    need(gpg="gnupg")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--yes"]
    run(*gpg, "--passphrase", "", "--quick-gen-key", KEY, "default", "default", "never")
    run(*gpg, "--armor", "--output", WORK / "bench.asc", "--export", KEY)
    run(*gpg, "--output", WORK / "bench.gpg", "--export", KEY)
    run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
    return home


def repository(name, sets):
    """A signed Debian repository with every package that these sets need; from the host's mirror, once."""
    folder = WORK / name
    stamp = hashlib.sha256(json.dumps(sets).encode()).hexdigest()
    if (folder / "stamp").exists() and (folder / "stamp").read_text() == stamp:
        return folder
    need(apt_ftparchive="apt-utils")
    home = key()
    shutil.rmtree(folder, ignore_errors=True)
    pool = folder / "pool"
    pool.mkdir(parents=True)
    # ingot resolves the packages from the host's mirror, and keeps them by their digests.
    cache, out = WORK / "download", WORK / "download.out"
    for packages in sets:
        description("download", packages, source="mirror://debian", signed=False)
        run(INGOT, "build", WORK / "download.d", "--target-dir", out, "--cache-dir", cache, "--type", "docker")
        for package in json.loads((out / "manifest.json").read_text())["packages"]:
            digest = package["sha256"]
            file = f"{package['name']}_{package['version'].replace(':', '%3a')}_{package['arch']}.deb"
            shutil.copy(cache / "packages/sha256" / digest[:2] / digest, pool / file)
    for path in cache, out:
        shutil.rmtree(path)
    binary = folder / f"dists/{SUITE}/main/binary-amd64"
    binary.mkdir(parents=True)
    (binary / "Packages").write_text(run("apt-ftparchive", "packages", "pool", cwd=folder))
    words = {"Suite": SUITE, "Codename": SUITE, "Architectures": "amd64", "Components": "main"}
    options = [word for name, value in words.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    signed = folder / f"dists/{SUITE}"
    (signed / "Release").write_text(run("apt-ftparchive", *options, "release", f"dists/{SUITE}", cwd=folder))
    run("gpg", "--homedir", home, "--batch", "--yes", "--clearsign", "--output", signed / "InRelease", signed / "Release")
    run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
    (folder / "stamp").write_text(stamp)
    return folder


def description(name, packages, types="", source=None, signed=True):
    """A folder that both KIWI and ingot read."""
    folder = WORK / f"{name}.d"
    (folder / "root/etc").mkdir(parents=True, exist_ok=True)
    (folder / "root/etc/motd").write_text("one\n")
    signing = '<signing key="this://bench.asc"/>' if signed else ""
    if signed:
        shutil.copy(WORK / "bench.asc", folder / "bench.asc")
    docker = '<type image="docker"><containerconfig name="bench" tag="1"/></type>'
    lines = "".join(f'<package name="{package}"/>' for package in packages)
    (folder / "config.xml").write_text(f"""<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="bench-{name}">
  <description type="system"><author>bench</author><contact>{KEY}</contact><specification>bench</specification></description>
  <preferences><version>1.0.0</version><packagemanager>apt</packagemanager>{types}{docker}</preferences>
  <repository type="apt-deb" alias="bench" distribution="{SUITE}" components="main"><source path="{source}">{signing}</source></repository>
  <packages type="bootstrap"><package name="base-files"/><package name="apt"/></packages>
  <packages type="image">{lines}</packages>
</image>
""")
    return folder


class Builder:
    """ingot on one description, with a cache of its own that packages were put into once."""

    def __init__(self, name, packages, repository, types=""):
        self.name, self.cache = name, WORK / f"{name}.cache"
        self.folder = description(name, packages, types, source=f"dir://{repository}")
        if not self.cache.exists():
            self("docker", "--no-stage-cache")

    def __call__(self, kind, *options):
        """Builds; options without a value stand for themselves."""
        kinds = [word for each in kind.split("+") for word in ("--type", each)]
        run(INGOT, "build", self.folder, *kinds, "--target-dir", WORK / f"{self.name}.out", "--cache-dir", self.cache, "--quiet",
            *options)

    def afresh(self, what):
        """Forgets results, stages or the form in which packages unpack fastest."""
        names = {"results": ["results"], "stages": ["results", "stages"],
                 "unpacked": ["results", "stages", "pieces", "packages/unpacked", "packages/fast"]}[what]
        for name in names:
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def packages(self):
        """How many packages the last result has."""
        return len(self.manifest()["packages"])

    def size(self):
        """Bytes of the last result."""
        return self.manifest()["artifacts"][0]["size"]

    def manifest(self):
        return json.loads((WORK / f"{self.name}.out/manifest.json").read_text())

    def touch(self):
        """Changes one overlay file."""
        with open(self.folder / "root/etc/motd", "a") as motd:
            motd.write("more\n")
