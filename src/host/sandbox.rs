//! Running programs inside an image's tree, with nothing of the host in reach.
//!
//! In: the tree, an argument list, an environment. Out: its output. Each program gets mount, PID, IPC, UTS and (by
//! default) network namespaces of its own, a minimal private /dev, its own /proc, a read-only /sys.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::program::{Ended, Output};
use super::rooted::RootPath;
use crate::error::Result;
use crate::report::Reporter;

/// Whether programs in the sandbox reach a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Network {
    /// A namespace with nothing but loopback.
    None,
    /// The host's.
    Host,
}

/// A tree that programs run in. Cloning is cheap; each run is a sandbox of its own.
#[derive(Clone, Debug)]
pub struct Sandbox {
    root: PathBuf,
    network: Network,
    binds: Vec<(PathBuf, RootPath)>,
    environment: BTreeMap<OsString, OsString>,
}

impl Sandbox {
    /// A sandbox over the tree at `root`, without network.
    pub fn new(root: &Path) -> Sandbox {
        Sandbox { root: root.into(), network: Network::None, binds: Vec::new(), environment: BTreeMap::new() }
    }

    /// Sets the network.
    pub fn network(mut self, network: Network) -> Sandbox {
        self.network = network;
        self
    }

    /// Shows a folder of the host, read-only, at `target` while programs run.
    pub fn bind(mut self, host: &Path, target: &RootPath) -> Sandbox {
        self.binds.push((host.into(), target.clone()));
        self
    }

    /// An environment variable of every program (PATH, HOME=/root, LC_ALL=C.UTF-8 ... are set already).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Sandbox {
        self.environment.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// Runs `arguments[0]` (looked up in the image); a status other than 0 is an error.
    pub fn run<A: AsRef<OsStr>>(&self, reporter: &Reporter, arguments: &[A]) -> Result<Output> {
        let _ = (reporter, arguments);
        todo!()
    }

    /// Runs it and returns its status whatever it is; `watch` sees each line of output as it comes.
    pub fn run_to_end<A: AsRef<OsStr>>(
        &self,
        reporter: &Reporter,
        arguments: &[A],
        watch: impl FnMut(&str) + Send,
    ) -> Result<Ended> {
        let _ = (reporter, arguments, watch);
        todo!()
    }
}
