"""Image formats: the raw disk that the row `disk-kiwi` leaves, written in another format."""
from .ground import *
from .images import large


def raw_disk():
    need(qemu_img="qemu-utils", gzip="gzip", xz="xz-utils", zstd="zstd")
    raw = WORK / "disk.raw"
    if not raw.exists():
        large()("oem")
        shutil.copy(next((WORK / "disk.out").glob("*.raw")), raw)
    return raw


def convert(raw, option):
    target = WORK / "converted.qcow2"
    target.unlink(missing_ok=True)
    run(INGOT, "convert", raw, target, "--quiet", "--option", f"compression_type={option}")


def qemu_img(raw, option):
    run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", f"compression_type={option}", raw, WORK / "qemu.qcow2")


def image(kind, *options):
    """qemu-img on the raw disk."""
    words = [word for option in options for word in ("-o", option)]
    return lambda raw, target: ["qemu-img", "convert", "-f", "raw", "-O", kind, *words, raw, target]


def shell(text):
    """A pipeline on the raw disk."""
    return lambda raw, target: ["sh", "-c", text.format(raw=raw, folder=raw.parent, name=raw.name, target=target)]


# Row, file, options of `ingot convert`, the peer, its command. What ingot writes is on the disk when it returns, and its
# digest is known; the peers' file is synced too, and not hashed.
OTHERS = [
    ("vhd", "x.vhd", ["force_size=on"], "qemu-img, vpc", image("vpc", "force_size=on")),
    ("vhd-fixed", "x.vhdfixed", ["force_size=on"], "qemu-img, vpc", image("vpc", "subformat=fixed", "force_size=on")),
    ("vhdx", "x.vhdx", [], "qemu-img", image("vhdx")),
    ("vmdk", "x.vmdk", [], "qemu-img", image("vmdk")),
    ("vmdk-stream", "x.vmdk", ["subformat=streamOptimized"], "qemu-img", image("vmdk", "subformat=streamOptimized")),
    ("vdi", "x.vdi", [], "qemu-img", image("vdi")),
    ("gce", "x.tar.gz", [], "GNU tar -S, gzip", shell("tar -C {folder} --format=oldgnu -Sczf {target} {name}")),
    ("raw.gz", "x.raw.gz", [], "gzip", shell("gzip -c {raw} >{target}")),
    ("raw.xz", "x.raw.xz", [], "xz -T0", shell("xz -T0 -c {raw} >{target}")),
    ("raw.zst", "x.raw.zst", [], "zstd -T0", shell("zstd -q -T0 -c {raw} >{target}")),
]


def into(target, *commands):
    """Prepares a run that writes `target`: neither side waits for what the one before left to be written."""
    target.unlink(missing_ok=True)
    os.sync()
    return lambda: [run(*words) for words in commands]


def rows():
    for option, goal in ("zlib", 12), ("zstd", 1.8):
        yield Row(f"qcow2-{option}", f"raw to qcow2, {option}", lambda raw, option=option: lambda: convert(raw, option),
                  "qemu-img convert -c", lambda raw, option=option: lambda: qemu_img(raw, option), goal=goal, make=raw_disk,
                  quick=option == "zstd")
    for name, file, options, peer, theirs in OTHERS:
        ours, other = WORK / f"converted-{file}", WORK / f"peer-{file}"
        words = [word for option in options for word in ("--option", option)]
        yield Row(name, f"raw to {name}", lambda raw, ours=ours, words=words:
                  into(ours, [INGOT, "convert", "--quiet", raw, ours, *words]),
                  f"{peer}, and sync",
                  lambda raw, other=other, theirs=theirs: into(other, theirs(raw, other), ["sync", other]), make=raw_disk)
