"""Containers of rpm packages by zypper and by dnf, beside KIWI: those that the tests make, and real software."""
from .ground import *
from .repackaged import repository_of_rpms

# What the kernel calls the managers, rpm, and what they start.
FAMILY = {"zypper", "dnf-3", "dnf4", "dnf5", "rpm", "rpmkeys", "rpmdb"}
PACKAGES = ["busybox", "filesystem", "libtiny1", "tiny-accounts", "tiny-app", "tiny-lua", "tiny-ping", "tiny-provider",
            "tiny-recommended", "tiny-suggested"]


def world():
    """The signed repository of the tests, which make it where there is none, its key, and the packages of a container."""
    def made():
        return list((HOME / "target/tmp").glob("rpmworld-*/repository"))

    if not made():
        run("cargo", "test", "--quiet", "--test", "root", "rpm_world", cwd=HOME)
    newest = max(made(), key=lambda path: path.stat().st_mtime)
    return newest, newest.parent / "tiny.asc", PACKAGES


class RpmBuilder:
    """ingot on a description without update stack: KIWI leaves its package manager out only where all packages are in
    the bootstrap list."""

    def __init__(self, manager, folder=WORK, packages=world, more=""):
        need(zypper="zypper", dnf="dnf", rpmbuild="rpm", createrepo_c="createrepo-c", busybox="busybox-static")
        self.repository, key, self.packages = packages()
        self.manager, self.name, self.work = manager, manager + more, folder
        self.folder, self.cache = folder / f"rpm-{self.name}.d", folder / f"rpm-{self.name}.cache"
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(key, self.folder / "key.asc")
        lines = "".join(f'<package name="{package}"/>' for package in self.packages)
        (self.folder / "config.xml").write_text(f"""<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="bench-{self.name}">
  <description type="system"><author>bench</author><contact>{KEY}</contact><specification>bench</specification></description>
  <preferences><version>1.0.0</version><packagemanager>{manager}</packagemanager>
    <type image="docker"><containerconfig name="bench" tag="1"/></type></preferences>
  <repository type="rpm-md" alias="bench"><source path="dir://{self.repository}"><signing key="file://{self.folder}/key.asc"/></source>
  </repository>
  <packages type="bootstrap">{lines}</packages>
</image>
""")

    def __call__(self, *options):
        run(INGOT, "build", self.folder, "--target-dir", self.out(), "--cache-dir", self.cache, *options)

    def out(self):
        return self.work / f"rpm-{self.name}.out"

    def installed(self):
        """The bytes of the packages' files, as their headers say."""
        sizes = run("rpm", "--query", "--queryformat", "%{NAME} %{LONGSIZE}\\n", "--package", *self.repository.glob("*.rpm"))
        sizes = dict(line.split() for line in sizes.splitlines() if not line.startswith("warning:"))
        return sum(int(sizes[name]) for name in self.packages)

    def afresh(self):
        """Forgets stages and results, not packages and metadata."""
        for name in "results", "stages", "pieces":
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def share(self):
        """How much of a build passes while no program of rpm's family runs, in percent: where the manager decides, and
        where its solution is remembered."""
        shares = []
        for forget in True, False:
            for solutions in self.cache.glob("rpm/*/solutions") if forget else []:
                shutil.rmtree(solutions)
            self.afresh()
            shares.append(share_of(lambda: subprocess.Popen(
                [INGOT, "build", self.folder, "--target-dir", self.out(), "--cache-dir", self.cache, "--no-stage-cache", "--quiet"])))
        return shares


def share_of(start):
    """Looks each millisecond at what the build's processes are."""
    theirs, before = 0.0, time.monotonic()
    began, build = before, start()
    while build.poll() is None:
        now = time.monotonic()
        if any(name in FAMILY for name in descendants(build.pid)):
            theirs += now - before
        before = now
        time.sleep(0.001)
    if build.returncode:
        sys.exit(f"ingot: exit code {build.returncode}")
    whole = time.monotonic() - began
    return 100 * (whole - theirs) / whole


def descendants(process):
    """The names of the programs below a process (`/proc/PID/task/TID/children`, proc(5))."""
    waiting = [process]
    while waiting:
        folder = pathlib.Path(f"/proc/{waiting.pop()}")
        try:
            yield (folder / "comm").read_text().strip()
            for thread in (folder / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except OSError:
            pass


def kiwi_rpm(builder):
    """KIWI on the same description, its package cache warm."""
    kiwi_installed()
    need(umoci="umoci", skopeo="skopeo")
    target = builder.work / f"kiwi-{builder.name}.out"
    shutil.rmtree(target, ignore_errors=True)
    run(KIWI, "--shared-cache-dir", builder.work / f"kiwi-{builder.name}.cache", "system", "build", "--description", builder.folder,
        "--target-dir", target)


def rows():
    def ours(builder):
        builder.afresh()
        return lambda: builder("--quiet", "--no-stage-cache")

    def what(builder):
        made, remembered = builder.share()
        return (f"container of {len(builder.packages)} rpm packages, {builder.installed() / 1e6:.0f} MB, by {builder.manager}; {remembered:.0f} % of the "
                f"time is ingot's own, {made:.0f} % where {builder.manager} has to decide")

    for packages, more in (world, ""), (repository_of_rpms, "-100"):
        for name, manager in ("rpm-zypper", "zypper"), ("rpm-dnf", "dnf4"):
            yield Row(name + more, what, ours, f"KIWI, {manager}", lambda builder: lambda: kiwi_rpm(builder),
                      make=lambda manager=manager, packages=packages, more=more: RpmBuilder(manager, packages=packages, more=more))
