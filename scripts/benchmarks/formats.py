"""Image formats: the raw disk that the row `disk-kiwi` leaves, written in another format."""
from .ground import *
from .images import large


def raw_disk():
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


def rows():
    for option, goal in ("zlib", 12), ("zstd", 1.8):
        yield Row(f"qcow2-{option}", f"raw to qcow2, {option}", lambda raw, option=option: lambda: convert(raw, option),
                  "qemu-img convert -c", lambda raw, option=option: lambda: qemu_img(raw, option), goal=goal, make=raw_disk,
                  quick=option == "zstd")
