//! What the boot loader would start: kernels, their initrds and command lines.
//!
//! In: grub.cfg, entries of the Boot Loader Specification, unified kernel images, as they are in the image. Out:
//! [`BootEntry`]s, what starts by default in front. Reads them as text: GRUB's script language is not interpreted.

use super::files::Files;
use super::pe;
use crate::root::RootPath;

/// One entry of a boot menu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootEntry {
    /// The file that it stands in.
    pub from: String,
    /// The kernel, as the boot loader names it; empty: a part of `from` itself.
    pub kernel: String,
    /// The initrds, as the boot loader names them.
    pub initrds: Vec<String>,
    /// The kernel's command line, its words.
    pub words: Vec<String>,
}

impl BootEntry {
    /// Whether it is for repairing a system.
    fn is_rescue(&self) -> bool {
        let rescue = |word: &String| matches!(word.as_str(), "single" | "recovery" | "rescue" | "1" | "emergency");
        self.words.iter().any(rescue) || self.kernel.contains("rescue") || self.kernel.contains("memtest")
    }

    /// The values of an argument, the last one wins for most.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let start = format!("{name}=");
        self.words.iter().filter_map(move |word| word.strip_prefix(&start))
    }
}

/// All entries but those for repairs; those of unified kernel images and the newest of the specification's first.
pub fn entries(files: &Files) -> Vec<BootEntry> {
    let mut unified = Vec::new();
    let mut listed = Vec::new();
    let mut grub = Vec::new();
    for (path, seen) in files.below("/boot") {
        let text = path.to_string();
        let lower = text.to_ascii_lowercase();
        if lower.contains("/efi/linux/") && lower.ends_with(".efi") {
            unified.extend(unified_kernel(path, &seen.content));
        } else if lower.contains("/loader/entries/") && lower.ends_with(".conf") {
            listed.push(specified(path, &seen.text(), files));
        } else if lower.ends_with("/grub.cfg") {
            grub.extend(grub_entries(path, &seen.text()));
        }
    }
    unified.sort_by(|a, b| b.from.cmp(&a.from));
    listed.sort_by(|a: &BootEntry, b: &BootEntry| b.from.cmp(&a.from));
    let all = unified.into_iter().chain(listed).chain(grub);
    all.filter(|entry| !entry.is_rescue()).collect()
}

fn unified_kernel(path: &RootPath, image: &[u8]) -> Option<BootEntry> {
    let sections = pe::sections(image)?;
    let text = pe::section(image, &sections, ".cmdline").map(String::from_utf8_lossy).unwrap_or_default();
    pe::section(image, &sections, ".linux")?;
    let words = text.trim_end_matches('\0').split_whitespace().map(str::to_string).collect();
    Some(BootEntry { from: path.to_string(), words, ..BootEntry::default() })
}

/// `linux`, `initrd` and `options` of an entry; `$kernelopts` and its like come from GRUB's environment block.
fn specified(path: &RootPath, text: &str, files: &Files) -> BootEntry {
    let mut entry = BootEntry { from: path.to_string(), ..BootEntry::default() };
    for line in text.lines() {
        let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or_default();
        match key {
            "linux" => entry.kernel = value.trim().to_string(),
            "initrd" => entry.initrds.extend(value.split_whitespace().map(str::to_string)),
            "options" => {
                for word in value.split_whitespace() {
                    match word.strip_prefix('$') {
                        Some(name) => entry.words.extend(from_environment(files, name)),
                        None => entry.words.push(word.to_string()),
                    }
                }
            }
            _ => {}
        }
    }
    entry.initrds.retain(|name| !name.starts_with('$'));
    entry
}

fn from_environment(files: &Files, name: &str) -> Vec<String> {
    let blocks = ["/boot/grub2/grubenv", "/boot/grub/grubenv", "/boot/efi/EFI/BOOT/grubenv"];
    let block = blocks.iter().map(|path| files.text(path)).find(|text| !text.is_empty()).unwrap_or_default();
    let start = format!("{name}=");
    let value = block.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_default().split_whitespace().map(str::to_string).collect()
}

/// Lines that begin with `linux` and the `initrd` lines behind each.
fn grub_entries(path: &RootPath, text: &str) -> Vec<BootEntry> {
    let mut found: Vec<BootEntry> = Vec::new();
    for line in text.lines() {
        let mut words = split(line);
        if words.is_empty() {
            continue;
        }
        let command = words.remove(0);
        match command.as_str() {
            "linux" | "linuxefi" | "linux16" | "$linux" | "multiboot" | "multiboot2" if !words.is_empty() => {
                let kernel = words.remove(0);
                found.push(BootEntry { from: path.to_string(), kernel, initrds: Vec::new(), words });
            }
            "initrd" | "initrdefi" | "initrd16" | "$initrd" => {
                if let Some(entry) = found.last_mut() {
                    entry.initrds.extend(words);
                }
            }
            _ => {}
        }
    }
    found
}

/// Words of a line of GRUB's script: quotes and backslashes are undone, a comment ends it.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = line.chars();
    let mut quote = None;
    let mut quoted = false;
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, '#') if word.is_empty() => break,
            (None | Some('"'), '\\') => word.extend(chars.next()),
            (None, '\'' | '"') => (quote, quoted) = (Some(char), true),
            (Some(open), char) if open == char => quote = None,
            (None, char) if char.is_whitespace() => {
                if !word.is_empty() || quoted {
                    words.push(std::mem::take(&mut word));
                    quoted = false;
                }
            }
            (_, char) => word.push(char),
        }
    }
    if !word.is_empty() || quoted {
        words.push(word);
    }
    words
}

/// The file that a boot loader's path means: below /boot, below the ESP, or (a subvolume or a variable in front) by name.
pub fn resolve<'a>(files: &'a Files, path: &str) -> Option<(&'a RootPath, &'a super::files::Seen)> {
    // GRUB's `($root)/vmlinuz` and `/@/boot/vmlinuz`.
    let path = path.rsplit(')').next().unwrap_or(path);
    let tail = path.find("/boot/").map(|at| &path[at..]);
    let name = path.rsplit('/').next().unwrap_or(path);
    let tried = [format!("/boot{path}"), format!("/boot/efi{path}"), path.to_string()];
    let tried = tried.into_iter().chain(tail.map(str::to_string)).chain([format!("/boot/{name}")]);
    tried.filter(|path| !path.ends_with('/')).find_map(|path| files.find(path))
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::files;
    use super::*;

    #[test]
    fn entries_of_grub_and_of_the_specification_are_read() {
        let files = files(&[
            (
                "/boot/grub/grub.cfg",
                "set default=0\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz-6.1 root=UUID=1 'a b' console=ttyS0,115200 # x\n\
                 \tinitrd /boot/ucode.img /boot/initrd.img-6.1\n}\nmenuentry 'rescue' {\n linux /boot/vmlinuz-6.1 single\n}\n",
            ),
            (
                "/boot/loader/entries/a-6.2.conf",
                "title x\nlinux /vmlinuz-6.2\ninitrd /initramfs-6.2.img $tuned_initrd\noptions $kernelopts quiet\n",
            ),
            ("/boot/loader/entries/a-0-rescue.conf", "linux /vmlinuz-0-rescue-1\n"),
            ("/boot/grub2/grubenv", "# GRUB\nkernelopts=root=LABEL=r console=tty0 \n####"),
            ("/boot/vmlinuz-6.1", "k"),
            ("/boot/vmlinuz-6.2", "k"),
        ]);
        let found = entries(&files);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(found[0].kernel, "/vmlinuz-6.2");
        assert_eq!(found[0].words, ["root=LABEL=r", "console=tty0", "quiet"]);
        assert_eq!(found[0].initrds, ["/initramfs-6.2.img"]);
        assert_eq!(found[1].words, ["root=UUID=1", "a b", "console=ttyS0,115200"]);
        assert_eq!(found[1].initrds, ["/boot/ucode.img", "/boot/initrd.img-6.1"]);
        for path in
            ["/vmlinuz-6.1", "/boot/vmlinuz-6.1", "($root)/vmlinuz-6.1", "/@/.snapshots/1/snapshot/boot/vmlinuz-6.1"]
        {
            assert_eq!(resolve(&files, path).unwrap().0.to_string(), "/boot/vmlinuz-6.1", "{path}");
        }
        assert!(resolve(&files, "/vmlinuz-7").is_none());
    }
}
