"""Debian packages as RPMs: a signed rpm-md repository of real software, of the size that containers have."""
from . import images
from .ground import *

# Debian's own package manager, which no image of rpm packages may carry around, and what takes its place.
LEFT_OUT = {"apt", "debconf", "debian-archive-keyring", "dpkg", "libapt-pkg6.0"}
MORE = {"cpio", "iproute2", "libbpf1", "libcap2-bin", "libelf1", "libgdbm-compat4", "libgdbm6", "libmnl0", "libperl5.36", "libproc2-0", "libtirpc3",
        "libxtables12", "openssh-client", "perl", "perl-modules-5.36", "procps", "vim-common", "vim-tiny", "zstd"}
# What packages do when they are installed; all else that Debian's own scripts do, nothing here needs.
SCRIPTLETS = {
    "base-passwd": ("Requires(post): coreutils dash", "%post\nfor name in passwd group; do cp /usr/share/base-passwd/$name.master /etc/$name; done"),
    "libc-bin": ("Requires(post): libc6", "%post -p /sbin/ldconfig"),
}
# What shapes the packages, beside their files.
OPTIONS = {"_binary_payload": "w9.zstdio", "__os_install_post": "%{nil}", "debug_package": "%{nil}", "_build_id_links": "none",
           "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"}


def spec(archive, names):
    """A spec of the package in `archive`: its files as they are, what it needs of `names`, the caller's."""
    wanted = "Package", "Version", "Architecture", "Pre-Depends", "Depends", "Description"
    said = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", archive, *wanted).splitlines() if line[:1].isalpha() and ": " in line)
    name, (epoch, version, release) = said["Package"], numbers(said["Version"])
    alternatives = [part.split("|") for field in ("Pre-Depends", "Depends") for part in said.get(field, "").split(",")]
    plain = [[one.split("(")[0].strip().split(":")[0] for one in part] for part in alternatives]
    needed = sorted({next((one for one in part if one in names), "") for part in plain} - {"", name})
    before, scriptlet = SCRIPTLETS.get(name, ("", ""))
    head = [f"Name: {name}", f"Epoch: {epoch}" if epoch else "", f"Version: {version}", f"Release: {release}",
            f"Summary: {said['Description'].replace('%', '%%')}", f"License: as /usr/share/doc/{name}/copyright says",
            "BuildArch: noarch" if said["Architecture"] == "all" else "", "AutoReqProv: no", before, *(f"Requires: {one}" for one in needed)]
    return "\n".join([*filter(None, head), "%description", "Repackaged, as a benchmark needs it.", scriptlet, "%install", "mkdir -p %{buildroot}",
                      f"dpkg-deb --extract {archive} %{{buildroot}}", "%files", "%defattr(-,root,root)", "/*", ""])


def numbers(version):
    """Epoch, version and release, as rpm divides them."""
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-")
    return epoch, (upstream or rest).replace("-", "."), revision if upstream else "1"


def repository_of_rpms():
    """About the packages of the container of the other rows, made once; its folder, its key, and the names."""
    builder, pool = images.small(), images.packages() / "pool"
    manifest = WORK / "container.out/manifest.json"
    if not manifest.exists():
        builder("docker", images.COLD)
    names = {package["name"] for package in json.loads(manifest.read_text())["packages"]}
    names = sorted(names - LEFT_OUT | MORE)
    folder = WORK / "repository-rpm"
    stamp = hashlib.sha256(repr([names, sorted(pool.iterdir())]).encode() + pathlib.Path(__file__).read_bytes()).hexdigest()
    if not (folder / "stamp").exists() or (folder / "stamp").read_text() != stamp:
        make(folder, pool, names)
        (folder / "stamp").write_text(stamp)
    return folder, WORK / "bench.asc", names


def make(folder, pool, names):
    need(rpmbuild="rpm", rpmsign="rpm", createrepo_c="createrepo-c")
    home, scratch = key(), WORK / "repository-rpm.making"
    for path in folder, scratch:
        shutil.rmtree(path, ignore_errors=True)
    (scratch / "specs").mkdir(parents=True)
    for name in names:
        (scratch / f"specs/{name}.spec").write_text(spec(next(pool.glob(f"{name}_*.deb")), names))
    options = [word for name, value in OPTIONS.items() for word in ("--define", f"{name} {value}")]
    run("rpmbuild", "-bb", "--quiet", "--nodeps", "--define", f"_topdir {scratch}", "--define", f"_rpmdir {folder}", *options,
        *(scratch / "specs").iterdir(), env={**os.environ, "HOME": str(scratch)})
    run("rpmsign", "--addsign", "--define", f"__gpg {shutil.which('gpg')}", "--define", f"_gpg_path {home}", "--define", f"_gpg_name {KEY}", *folder.glob("*.rpm"))
    run("createrepo_c", "--quiet", "--no-database", "--general-compress-type=gz", folder)
    metadata = folder / "repodata/repomd.xml"
    run("gpg", "--homedir", home, "--batch", "--yes", "--armor", "--detach-sign", "--output", f"{metadata}.asc", metadata)
    shutil.copy(WORK / "bench.asc", f"{metadata}.key")
    run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
    shutil.rmtree(scratch)
