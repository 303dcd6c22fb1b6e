//! Home folders: where people leave histories and keys.
//!
//! In: /etc/passwd and the folders below /home. Out: real paths. Never follows a symlink out of the tree.

use std::collections::BTreeSet;

use crate::root::RootPath;
use crate::scrub::listing::Listing;

/// Home folders by their real paths, sorted: those in `passwd` (passwd(5)), /root, /home/* and /etc/skel.
pub fn homes(passwd: &[u8], listing: &Listing) -> Vec<RootPath> {
    let mut homes: BTreeSet<RootPath> = ["/root", "/etc/skel"].into_iter().map(RootPath::from).collect();
    homes.extend(listing.children(&listing.target(&"/home".into())));
    for line in passwd.split(|byte| *byte == b'\n') {
        match line.split(|byte| *byte == b':').nth(5) {
            Some(home) if home.starts_with(b"/") => homes.insert(RootPath::new(home)),
            _ => continue,
        };
    }
    homes.into_iter().map(|home| listing.target(&home)).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::RootTree;

    #[test]
    fn homes_are_those_of_passwd_and_the_usual_ones_by_their_real_paths() {
        let folder = tempfile::tempdir().unwrap();
        let tree = RootTree::open(folder.path()).unwrap();
        tree.create_folders(&"/srv/home/anna".into(), 0o755).unwrap();
        tree.symlink("srv/home", &"/home".into()).unwrap();
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbob:x:1:1::/home/bob:/bin/sh\nsync:x:4:4::/:/bin/sync\nodd\nx:x:1:1::rel:\n";
        let homes = homes(passwd, &Listing::read(&tree).unwrap());
        let wanted = ["/", "/etc/skel", "/root", "/srv/home/anna", "/srv/home/bob"];
        assert_eq!(homes, wanted.map(RootPath::from));
    }
}
