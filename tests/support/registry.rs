//! A registry on loopback that lets nobody in without a password: Debian's docker-registry, which ends with the test.
//!
//! In: a folder. Out: an address, and the files with which skopeo and `ingot` reach it. Never listens anywhere but on
//! 127.0.0.1.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// What nothing of a build may hold.
pub const PASSWORD: &str = "only-for-tests";
/// `me:only-for-tests` in base64: what the file of credentials holds.
pub const TOKEN: &str = "bWU6b25seS1mb3ItdGVzdHM=";
/// The same password for htpasswd, bcrypt with the lowest cost.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuDt8u8tY.Zm8YU.pieFNyF5h5afvnc0a\n";

/// See the module.
pub struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Credentials, as `skopeo login` writes them.
    pub credentials: PathBuf,
    /// It speaks no TLS.
    pub configuration: PathBuf,
}

impl Registry {
    /// Starts one whose content is in `folder`.
    pub fn start(folder: &Path) -> Registry {
        fs::create_dir_all(folder).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let passwords = write("htpasswd", HTPASSWD);
        let settings = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": address},
            "auth": {"htpasswd": {"realm": "tests", "path": passwords}},
        });
        // JSON is YAML.
        let settings = write("registry.yml", &settings.to_string());
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "the registry does not answer at {address}");
            std::thread::yield_now();
        }
        Registry {
            process,
            credentials: write("auth.json", &json!({"auths": {&address: {"auth": TOKEN}}}).to_string()),
            configuration: write(
                "registries.conf",
                &format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"),
            ),
            address,
        }
    }

    /// `skopeo ARGUMENTS` with its files.
    pub fn skopeo(&self, arguments: &[&str]) -> String {
        let output = Command::new("skopeo")
            .arg("--registries-conf")
            .arg(&self.configuration)
            .args(arguments)
            .env("REGISTRY_AUTH_FILE", &self.credentials)
            .output()
            .unwrap();
        assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
