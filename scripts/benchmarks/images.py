"""Containers and disks: first builds, later builds, and builds after a change."""
from .ground import *

CONTAINER = ["base-files", "ca-certificates", "curl", "less", "tzdata"]
DISK = CONTAINER + ["dbus", "dracut", "e2fsprogs", "grub-efi-amd64-bin", "grub-pc-bin", "grub2-common", "iproute2",
                    "linux-image-cloud-amd64", "openssh-server", "systemd-sysv", "systemd-timesyncd", "udev", "vim-tiny", "zstd"]

# KIWI mounts what it makes: an EFI system partition needs a kernel with vfat.
OEM = """<type image="oem" primary="true" filesystem="ext4" firmware="bios" format="qcow2" initrd_system="dracut"
  kernelcmdline="console=ttyS0"><bootloader name="grub2" timeout="1"/><oemconfig><oem-resize>false</oem-resize></oemconfig></type>"""


def packages():
    # KIWI makes its tree with a /usr that is not merged, and merges it by a package that ingot does not need.
    return repository("repository", [DISK, ["usrmerge"]])


def small():
    return Builder("container", CONTAINER, packages())


def large():
    return Builder("disk", DISK, packages(), OEM)


def mmdebstrap(names):
    """A tar of the same packages, uncompressed."""
    need(mmdebstrap="mmdebstrap")
    target = WORK / "mmdebstrap.tar"
    source = f"deb [signed-by={WORK}/bench.gpg] copy:{packages()} {SUITE} main"
    hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr"
    run("mmdebstrap", "--variant=essential", hooks, f"--include={','.join(names + ['apt'])}", SUITE, target, source)


def debootstrap(names):
    """A folder with the same packages."""
    need(debootstrap="debootstrap")
    target = WORK / "debootstrap.tree"
    shutil.rmtree(target, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--keyring={WORK}/bench.gpg", f"--include={','.join(names)}", SUITE, target,
        f"file://{packages()}")


def kiwi(builder, kind):
    """KIWI on the same description, its package cache warm."""
    kiwi_installed()
    target = WORK / "kiwi.out"
    shutil.rmtree(target, ignore_errors=True)
    run(KIWI, "--type", kind, "--shared-cache-dir", WORK / "kiwi.cache", "system", "build", "--description", builder.folder,
        "--target-dir", target)


COLD = "--no-stage-cache"


def cold(kind, forget="stages"):
    """A build that may use packages, in the form that unpacks fastest where they are kept so, and no stages."""
    return lambda builder: (builder.afresh(forget), lambda: builder(kind, COLD))[1]


def changed(kind):
    """A build after one overlay file changed."""
    return lambda builder: (builder(kind), builder.touch(), lambda: builder(kind))[2]


def peer(call):
    return lambda builder: lambda: call(builder)


def rows():
    uncompressed = "mmdebstrap, uncompressed tar"
    bootstrap = peer(lambda _: mmdebstrap(CONTAINER))
    yield Row("container-first", "container, first build after download", cold("docker", "unpacked"), uncompressed, bootstrap,
              goal=3, make=small)
    yield Row("container", "container, any later build", cold("docker"), uncompressed, bootstrap, goal=4, make=small, quick=True)
    yield Row("debootstrap", "container, any later build", cold("docker"), "debootstrap, a folder",
              peer(lambda _: debootstrap(CONTAINER)), make=small)
    yield Row("container-kiwi", "container, any later build", cold("docker"), "KIWI, docker",
              peer(lambda builder: kiwi(builder, "docker")), goal=18, make=small)
    yield Row("disk-kiwi", "disk with kernel, GRUB (BIOS) and dracut, qcow2", cold("oem"), "KIWI, oem",
              peer(lambda builder: kiwi(builder, "oem")), goal=9, make=large)
    yield Row("together", "disk and container at once", cold("oem+docker"), "one after the other",
              lambda builder: (builder.afresh("stages"), lambda: (builder("oem", COLD), builder("docker", COLD)))[1],
              goal=1 / 0.7, make=large, quick=True)
    yield Row("container-overlay", "container, one overlay file changed", changed("docker"), "the same, cold", cold("docker"),
              goal=1 / 0.15, make=small, quick=True)
    yield Row("disk-overlay", "disk, one overlay file changed", changed("oem"), "the same, cold", cold("oem"),
              goal=1 / 0.2, make=large, quick=True)
    yield Row("unchanged", "disk, nothing changed", lambda builder: (builder("oem"), lambda: builder("oem"))[1],
              "the same, cold", cold("oem"), seconds=0.3, make=large, quick=True)
    yield Row("check", "check of a description", peer(lambda builder: run(INGOT, "check", builder.folder)), "KIWI, image info",
              peer(lambda builder: (kiwi_installed(), run(KIWI, "image", "info", "--description", builder.folder,
                                                          "--print-kiwi-env"))), goal=100, make=small, quick=True)
