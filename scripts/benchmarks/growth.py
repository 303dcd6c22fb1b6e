"""How time and memory grow with the number of packages and with the size of the tree; no peer."""
from .ground import *
from .images import CONTAINER, DISK, OEM, cold, packages

SERVER = ["build-essential", "cmake", "default-jdk-headless", "docker.io", "git", "imagemagick", "mariadb-server", "nginx",
          "openssh-server", "php-fpm", "postgresql", "python3-numpy", "python3-pandas", "r-base-core", "ruby-full", "samba",
          "systemd-sysv", "vim"]
DESKTOP = ["ffmpeg", "gimp", "inkscape", "libreoffice", "npm", "task-xfce-desktop", "texlive-latex-extra"]
# Names whose closures are about as many packages as the key says.
SETS = {100: CONTAINER, 400: CONTAINER + SERVER, 1200: CONTAINER + SERVER + DESKTOP}
# MiB of files in the overlay; the packages add some 600.
TREES = {650: 50, 2048: 1450, 6144: 5550}


def grown(names):
    return lambda: Builder(f"growth-{len(names)}", names, repository("growth", list(SETS.values())))


def counted(what):
    """`what` with the number of packages that the manifest of the builder's first build has, and the size of its layer."""
    return lambda builder: f"{what}, {builder.packages()} packages, {builder.size() / 1e6:.0f} MB"


def tree(added):
    """A disk with so many MiB of files in its overlay: a third of each does not compress."""
    def make():
        builder = Builder(f"tree-{added}", DISK, packages(), OEM)
        data = builder.folder / "root/srv/data"
        data.mkdir(parents=True, exist_ok=True)
        for at in range(-(-added // 16)):
            file = data / f"{at}"
            if not file.exists():
                block = hashlib.shake_128(str(at).encode()).digest(1 << 20)
                text = b"".join(f"line {line} of file {at}\n".encode() for line in range(40_000))
                file.write_bytes((block * 5)[:16 * (1 << 20) // 3] + (text * 16)[:16 * (1 << 20) * 2 // 3])
        return builder
    return make


def rows():
    for count, names in SETS.items():
        yield Row(f"growth-{count}", counted("container"), cold("docker"), make=grown(names))
    for size, added in TREES.items():
        yield Row(f"tree-{size}", f"disk, tree of {size} MiB", cold("oem"), make=tree(added))
