//! Amazon EC2: the vendor's command line against moto, block by block.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{Place, done, killed, refused};
use crate::support::emulator::Emulator;
use crate::support::need;
use crate::support::proxy::{Fate, Proxy};

const REGION: &str = "eu-central-1";
const TARGET: &str = "aws:eu-central-1";

/// Moto, and a proxy before it that the programs talk to.
pub(super) struct Aws {
    cloud: Emulator,
    pub(super) proxy: Proxy,
    direct: String,
}

impl Aws {
    pub(super) fn start() -> Option<Aws> {
        let mut cloud = Emulator::start("aws")?;
        let direct = cloud.value("AWS_ENDPOINT_URL");
        let proxy = Proxy::start(&direct);
        for (name, value) in &mut cloud.environment {
            if name == "AWS_ENDPOINT_URL" {
                *value = proxy.url();
            }
        }
        // One try is one try: what is tried again is up to ingot.
        cloud.environment.push(("AWS_MAX_ATTEMPTS".into(), "1".into()));
        Some(Aws { cloud, proxy, direct })
    }

    pub(super) fn publish(&self, place: &Place, target: &str, more: &[&str]) -> std::process::Command {
        place.publish(&self.cloud, target, more)
    }

    pub(super) fn abort(&self, place: &Place, more: &[&str]) -> std::process::Command {
        place.ingot(&self.cloud, &[&["publish", "--abort"], more].concat())
    }

    /// What the service itself answers, past the proxy.
    pub(super) fn ask(&self, arguments: &[&str]) -> Value {
        let fixed = ["--region", REGION, "--output", "json", "--endpoint-url", &self.direct];
        let text = self.cloud.ask("aws", &[arguments, &fixed].concat());
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Ids of ingot's snapshots that are there; moto has hundreds of its own.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let ours = "Filter.1.Name=tag-key&Filter.1.Value.1=ingot-publication";
        self.listed(&format!("Action=DescribeSnapshots&{ours}"), "snapshotId")
    }

    /// Ids of the images that are there.
    pub(super) fn images(&self) -> Vec<String> {
        self.listed("Action=DescribeImages&Owner.1=self", "imageId")
    }

    /// What moto's query API tells, without the half second that starting `aws` takes.
    fn listed(&self, question: &str, element: &str) -> Vec<String> {
        let scope = format!("Credential=testing/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0");
        let form = "Content-Type: application/x-www-form-urlencoded";
        let headers = format!("Authorization: AWS4-HMAC-SHA256 {scope}\r\n{form}");
        let answer = self.post("/", &headers, &format!("{question}&Version=2016-11-15"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let begin = format!("<{element}>");
        let elements = answer.split(&begin).skip(1);
        elements.map(|rest| rest.split('<').next().unwrap().to_string()).collect()
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let host = self.direct.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nContent-Length: {length}");
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// From now on moto asks for valid credentials, which nobody has.
    pub(super) fn lock(&self) {
        let answer = self.post("/moto-api/reset-auth", "Content-Type: text/plain", "0");
        assert!(answer.contains("\"ok\""), "{answer}");
    }
}

/// A disk that BIOS and UEFI start: 96 MiB with an ESP and a BIOS boot partition, and data in some blocks.
fn bootable(place: &Place) {
    place.raw(96 << 20, &[2, 5, 6, 100, 190]);
    let path = place.release().join("it.raw");
    let table = "label: gpt\nsize=1MiB,type=21686148-6449-6E6F-744E-656564454649\ntype=U\n";
    let mut sfdisk = std::process::Command::new("sfdisk")
        .args(["--quiet", path.to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    sfdisk.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    place.list(&[("it.raw", "raw")]);
}

#[test]
fn a_disk_becomes_an_image_of_ec2_block_by_block_and_only_once() {
    need!("sfdisk", "python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    bootable(&place);
    place.parameters("[aws]\ntags = { team = \"images, golden\" }\nshare-with = [\"123456789012\"]\n");

    // What would be done, and nothing is.
    let (lines, _) = done(&mut aws.publish(&place, TARGET, &["--dry-run"]));
    assert!(lines.lines().any(|line| line.starts_with("aws ec2 register-image ")), "{lines}");
    assert!(lines.contains("--block-data '<file>'") || lines.contains("--block-data <file>"), "{lines}");
    assert_eq!((aws.proxy.count(""), aws.snapshots().len()), (0, 0));

    let (id, _) = done(&mut aws.publish(&place, TARGET, &[]));
    assert!(id.starts_with("ami-"), "{id}");
    assert_eq!(aws.images(), vec![id.clone()]);

    // Only blocks with data travel, each once: five, those of both tables' copies, and nothing between.
    let sent =
        |index: u64| aws.proxy.count(&format!("/blocks/{index} ")) + aws.proxy.count(&format!("/blocks/{index}?"));
    let indexes: Vec<u64> = (0..192).filter(|index| sent(*index) > 0).collect();
    assert_eq!(indexes, [0, 2, 5, 6, 100, 190, 191]);
    assert_eq!(aws.proxy.count("PUT /snapshots/"), indexes.len());

    // The service tells each block as it stands on the disk.
    let snapshot = snapshot_of(&aws);
    let content = std::fs::read(place.release().join("it.raw")).unwrap();
    let listed = aws.ask(&["ebs", "list-snapshot-blocks", "--snapshot-id", &snapshot]);
    assert_eq!(listed["Blocks"].as_array().unwrap().len(), indexes.len());
    for block in listed["Blocks"].as_array().unwrap() {
        let (index, token) = (block["BlockIndex"].to_string(), block["BlockToken"].as_str().unwrap());
        let back = place.join("block");
        let ask = ["ebs", "get-snapshot-block", "--snapshot-id", &snapshot, "--block-index", &index, "--block-token"];
        aws.ask(&[&ask[..], &[token, back.to_str().unwrap()]].concat());
        let at = index.parse::<usize>().unwrap() << 19;
        assert!(std::fs::read(back).unwrap() == content[at..at + (512 << 10)], "block {index}");
    }

    // Moto keeps neither boot mode nor metadata options nor tags of an image: what it was asked for is read instead.
    for part in [
        "BootMode=uefi-preferred",
        "ImdsSupport=v2.0",
        "EnaSupport=true",
        "Architecture=x86_64",
        "VirtualizationType=hvm",
        "RootDeviceName=%2Fdev%2Fxvda",
        "BlockDeviceMapping.1.Ebs.VolumeSize=1&",
        "BlockDeviceMapping.1.Ebs.VolumeType=gp3",
        &format!("BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}"),
        "images%2C+golden",
    ] {
        let asked = aws.proxy.bodies("Action=RegisterImage");
        assert!(asked.len() == 1 && asked[0].contains(part), "{part}: {asked:?}");
    }
    let permissions = ["ec2", "describe-image-attribute", "--image-id", &id, "--attribute", "launchPermission"];
    assert_eq!(aws.ask(&permissions)["LaunchPermissions"], json!([{"UserId": "123456789012"}]));

    // A second time nothing is sent, and one publication is recorded.
    let before = aws.proxy.count("");
    assert_eq!(done(&mut aws.publish(&place, TARGET, &[])).0, id);
    assert_eq!((aws.proxy.count(""), place.catalog()), (before, vec![(id.clone(), "candidate".into())]));

    // Nor by another host, which finds the image by its tags (that moto did not keep).
    place.forget();
    let digest = format!("Key=ingot-digest,Value={}", sha256(&place));
    aws.ask(&["ec2", "create-tags", "--resources", &id, "--tags", &digest]);
    assert_eq!(done(&mut aws.publish(&place, TARGET, &[])).0, id);
    assert_eq!((aws.snapshots().contains(&snapshot), aws.images()), (true, vec![id]));
    assert_eq!(aws.proxy.count("POST /snapshots "), 1);
    assert!(place.unfinished().is_empty());
}

/// The snapshot that was begun through the direct API; moto makes others for its own volumes and images.
fn snapshot_of(aws: &Aws) -> String {
    let query = "Snapshots[?Tags[?Key=='ingot-digest']].SnapshotId";
    let list = aws.ask(&["ec2", "describe-snapshots", "--owner-ids", "self", "--query", query]);
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 1, "{list:?}");
    list[0].as_str().unwrap().into()
}

fn sha256(place: &Place) -> String {
    let manifest = std::fs::read(place.release().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["artifacts"][0]["sha256"].as_str().unwrap().into()
}

#[test]
fn a_killed_publication_to_ec2_goes_on_where_it_was() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    let blocks: Vec<u64> = (0..40).collect();
    place.raw(32 << 20, &blocks);
    let hold = |part: &str| aws.proxy.rule_times(part, Fate::NoAnswer, 0, 1);

    // The snapshot is there, and its answer was lost: it is found, no second one is made.
    hold("POST /snapshots ");
    killed(&mut aws.publish(&place, TARGET, &[]), || aws.proxy.wait_for("POST /snapshots ", 1));
    assert_eq!((place.unfinished().len(), aws.snapshots().len()), (1, 1));

    // Killed again among the blocks: one worker, so that it is known which ones were sent.
    hold("/blocks/20?");
    hold("/blocks/20 ");
    let mut command = aws.publish(&place, TARGET, &["--parallel", "1"]);
    killed(&mut command, || aws.proxy.wait_for("/blocks/20", 1));
    assert_eq!((aws.proxy.count("POST /snapshots "), aws.proxy.count("PUT ")), (1, 21));

    // And when the image was being registered; meanwhile nobody else publishes or gives up the same.
    hold("Action=RegisterImage");
    killed(&mut aws.publish(&place, TARGET, &[]), || {
        aws.proxy.wait_for("Action=RegisterImage", 1);
        refused(&mut aws.publish(&place, TARGET, &[]), 75, "another ingot publishes the same artifact there");
        refused(&mut aws.abort(&place, &[]), 75, "another ingot publishes the same artifact there");
    });
    // Only the block whose answer was lost was sent twice.
    assert_eq!(aws.proxy.count("PUT "), 41);
    let snapshot = snapshot_of(&aws);
    let image = aws.images().remove(0);
    // Moto kept neither the image's tags nor its snapshot, as EC2 does.
    let digest = format!("Key=ingot-digest,Value={}", sha256(&place));
    aws.ask(&["ec2", "create-tags", "--resources", &image, "--tags", &digest]);
    let query = ["ec2", "describe-images", "--owners", "self", "--query"];
    let own = aws.ask(&[&query[..], &["Images[0].BlockDeviceMappings[0].Ebs.SnapshotId"]].concat());
    aws.proxy.rule("Action=DescribeImages", Fate::Altered(own.as_str().unwrap().into(), snapshot.clone()));
    let (id, said) = done(&mut aws.publish(&place, TARGET, &[]));
    assert_eq!((&id, aws.proxy.count("Action=RegisterImage")), (&image, 1));
    assert!(said.contains("goes on from an earlier run") && said.contains("found"), "{said}");
    assert_eq!((snapshot_of(&aws), aws.images(), place.unfinished().len()), (snapshot, vec![image], 0));
    assert_eq!(place.catalog(), [(id, "candidate".to_string())]);
}

#[test]
fn what_was_given_up_is_removed_from_ec2() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(8 << 20, &[0, 3, 9]);
    for (part, made) in
        [("POST /snapshots ", "snapshot"), ("/blocks/3", "snapshot"), ("POST /snapshots/completion/", "snapshot")]
    {
        aws.proxy.forget();
        aws.proxy.rule_times(part, Fate::NoAnswer, 0, 1);
        let mut command = aws.publish(&place, TARGET, &["--parallel", "1"]);
        killed(&mut command, || aws.proxy.wait_for(part, 1));
        assert_eq!((aws.snapshots().len(), place.unfinished().len()), (1, 1), "{part}");
        let (shown, _) = done(&mut aws.abort(&place, &["--dry-run"]));
        assert!(shown.contains("aws ec2 delete-snapshot"), "{shown}");
        assert_eq!(aws.snapshots().len(), 1, "{part}");
        // Another target's remains are not meant.
        let (_, said) = done(&mut aws.abort(&place, &["--to", "aws:us-east-1"]));
        assert!(said.contains("nothing is unfinished"), "{said}");
        let id = aws.snapshots().remove(0);
        let (_, said) = done(&mut aws.abort(&place, &["--to", TARGET]));
        assert!(said.contains(made) && said.contains(&id), "{part}: {said}");
        assert_eq!((aws.snapshots().len(), place.unfinished().len()), (0, 0), "{part}");
    }
    // Where removing fails, what is there is still known.
    aws.proxy.forget();
    aws.proxy.rule_times("/blocks/3", Fate::NoAnswer, 0, 1);
    killed(&mut aws.publish(&place, TARGET, &["--parallel", "1"]), || aws.proxy.wait_for("/blocks/3", 1));
    aws.proxy.rule_times("Action=DeleteSnapshot", denied("UnauthorizedOperation"), 0, 1);
    refused(&mut aws.abort(&place, &[]), 77, "UnauthorizedOperation");
    assert_eq!((aws.snapshots().len(), place.unfinished().len()), (1, 1));
    done(&mut aws.abort(&place, &[]));
    assert_eq!((aws.snapshots().len(), place.unfinished().len(), place.catalog().len()), (0, 0, 0));
}

/// An error of EC2, as its query API writes it.
pub(super) fn denied(code: &str) -> Fate {
    error(403, code)
}

fn error(status: u16, code: &str) -> Fate {
    let text = format!("<Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors>");
    Fate::Answer(status, format!("<?xml version=\"1.0\"?><Response>{text}<RequestID>1</RequestID></Response>"))
}

/// An error of the EBS direct API.
fn problem(status: u16, code: &str) -> Fate {
    Fate::Answer(status, json!({"__type": code, "Message": "no"}).to_string())
}

#[test]
fn errors_of_ec2_end_with_their_code_and_leave_nothing_unreported() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(4 << 20, &[0, 1]);
    let nothing = "nothing was made there";
    let start = "POST /snapshots ";
    let table = [
        ("Action=DescribeImages", error(503, "RequestLimitExceeded"), 75, "RequestLimitExceeded", nothing),
        ("Action=DescribeImages", error(500, "InternalError"), 75, "InternalError", nothing),
        ("Action=DescribeImages", error(400, "RequestExpired"), 77, "the session is over", nothing),
        (start, problem(429, "RequestThrottledException"), 75, "RequestThrottledException", "perhaps snapshot"),
        (start, problem(500, "InternalServerException"), 75, "InternalServerException", "perhaps snapshot"),
        (start, problem(403, "AccessDeniedException"), 77, "lack a permission", "perhaps snapshot"),
        (start, problem(402, "ServiceQuotaExceededException"), 73, "a limit of the account", "perhaps snapshot"),
        ("/blocks/1", problem(403, "AccessDeniedException"), 77, "put-snapshot-block", "made so far: snapshot snap-"),
        ("/blocks/1", problem(429, "RequestThrottledException"), 75, "put-snapshot-block", "tried (3 times)"),
        ("/snapshots/completion/", problem(400, "ValidationException"), 74, "complete-snapshot", "snapshot snap-"),
        ("Action=RegisterImage", error(400, "InvalidAMIName.Duplicate"), 73, "gives another one", "snapshot snap-"),
    ];
    for (part, fate, code, text, made) in table {
        aws.proxy.forget();
        aws.proxy.rule(part, fate);
        let said = refused(&mut aws.publish(&place, TARGET, &["--retries", "2"]), code, text);
        assert!(said.contains(made), "{part}: {said}");
        let tries = if code == 75 { 3 } else { 1 };
        assert_eq!(aws.proxy.count(part), tries, "{part} {text}: {said}");
        aws.proxy.forget();
        if made != nothing {
            done(&mut aws.abort(&place, &[]));
        }
        assert_eq!((aws.snapshots().len(), aws.images().len(), place.unfinished().len()), (0, 0, 0), "{part} {text}");
    }
    assert_eq!(place.catalog(), []);

    // A few of them are got over, and a connection that breaks is, too.
    for part in [start, "/blocks/0", "/blocks/1", "/snapshots/completion/", "Action=DescribeSnapshots"] {
        let fate = if part == "/blocks/0" { Fate::LostAnswer } else { error(500, "InternalError") };
        aws.proxy.rule_times(part, fate, 0, 1);
    }
    // One worker sends both blocks: what it has sent is not sent again.
    let (id, _) = done(&mut aws.publish(&place, TARGET, &["--retries", "2", "--parallel", "1"]));
    assert_eq!((aws.proxy.count("/blocks/0"), aws.proxy.count("/blocks/1")), (2, 2));
    assert_eq!(aws.images(), [id]);

    // The service tells its list of blocks in pages, and another number of them than was sent.
    place.forget();
    let page = |blocks: usize, next: Option<&str>| {
        let block = json!({"BlockIndex": 0, "BlockToken": "t"});
        Fate::Answer(200, json!({"Blocks": vec![block; blocks], "NextToken": next}).to_string())
    };
    let list = "GET /snapshots/";
    for (fates, code) in [(vec![page(0, Some("a")), page(1, Some("b")), page(1, None)], 0), (vec![page(3, None)], 76)] {
        aws.proxy.forget();
        let pages = fates.len();
        fates.into_iter().for_each(|fate| aws.proxy.rule_times(list, fate, 0, 1));
        let output = aws.publish(&place, TARGET, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), aws.proxy.count(list)), (Some(code), pages), "{said}");
        if code == 0 {
            assert_eq!(place.catalog().len(), 1);
            place.forget();
        } else {
            assert!(said.contains("the number of blocks differs") && said.contains("made so far: snapshot"), "{said}");
        }
    }
    assert_eq!(place.catalog(), []);
}

#[test]
fn wrong_credentials_and_a_changed_disk_are_refused_before_anything_is_at_ec2() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(4 << 20, &[0, 1]);
    let none = |command: &mut std::process::Command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    };
    let mut command = aws.publish(&place, TARGET, &[]);
    none(&mut command);
    refused(&mut command, 78, "give aws credentials in its own way");
    assert_eq!(aws.proxy.count(""), 0);
    let path = place.release().join("it.raw");
    let before = std::fs::read(&path).unwrap();
    let mut changed = before.clone();
    changed[1000] ^= 1;
    std::fs::write(&path, changed).unwrap();
    refused(&mut aws.publish(&place, TARGET, &[]), 76, "it.raw changed since the release was made");
    std::fs::write(&path, &before[..before.len() - 512]).unwrap();
    refused(&mut aws.publish(&place, TARGET, &[]), 76, "it.raw changed since the release was made");
    std::fs::remove_file(&path).unwrap();
    refused(&mut aws.publish(&place, TARGET, &[]), 66, "no such file is there");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    refused(&mut aws.publish(&place, TARGET, &[]), 66, "no such file is there");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &before).unwrap();
    assert_eq!(aws.proxy.count(""), 0);

    // A disk that changes between two runs is another one: what was begun of it is not gone on with.
    aws.proxy.rule_times("/blocks/1", Fate::NoAnswer, 0, 1);
    killed(&mut aws.publish(&place, TARGET, &["--parallel", "1"]), || aws.proxy.wait_for("/blocks/1", 1));
    place.parameters("[aws]\nvolume-size = 2\n");
    refused(&mut aws.publish(&place, TARGET, &[]), 78, "asks for something else than the earlier run did");
    done(&mut aws.abort(&place, &[]));

    aws.lock();
    let said = refused(&mut aws.publish(&place, TARGET, &[]), 77, "other credentials than are needed");
    assert!(said.contains("AuthFailure") && said.contains("nothing was made there"), "{said}");
    assert!(!said.contains("testing-secret"), "{said}");
    assert_eq!((place.catalog().len(), place.unfinished().len()), (0, 0));
}
