//! Amazon EC2 through S3. Moto knows no `import-snapshot`: up to that call everything is its own, and what comes after it is
//! answered as the API's reference writes it.

use serde_json::json;

use super::aws::Aws;
use super::{Place, done, killed, refused};
use crate::support::need;
use crate::support::proxy::Fate;

const TARGET: &str = "aws:eu-central-1/golden";
const PARAMETERS: &str = "[aws]\nmethod = \"s3\"\n";

fn objects(aws: &Aws) -> usize {
    let list = aws.ask(&["s3api", "list-objects-v2", "--bucket", "golden"]);
    list["Contents"].as_array().map_or(0, Vec::len)
}

fn parts(aws: &Aws) -> usize {
    let list = aws.ask(&["s3api", "list-multipart-uploads", "--bucket", "golden"]);
    list["Uploads"].as_array().map_or(0, Vec::len)
}

fn make_bucket(aws: &Aws) {
    let place = "LocationConstraint=eu-central-1";
    aws.ask(&["s3api", "create-bucket", "--bucket", "golden", "--create-bucket-configuration", place]);
}

#[test]
fn an_object_of_s3_is_compared_imported_once_and_removed() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(9 << 20, &[0, 1, 17]);
    place.parameters(PARAMETERS);
    let said = refused(&mut aws.publish(&place, TARGET, &[]), 66, "ingot makes no bucket");
    assert!(said.contains("nothing was made there"), "{said}");
    refused(&mut aws.publish(&place, "aws:eu-central-1", &[]), 64, "needs a bucket");
    make_bucket(&aws);

    // Another entity tag than that of the disk: nothing is imported.
    let altered = Fate::Altered("-2\"".into(), "-3\"".into());
    aws.proxy.rule("HEAD /golden/ingot/", altered);
    let said = refused(&mut aws.publish(&place, TARGET, &[]), 76, "the entity tag differs");
    assert!(said.contains("made so far: object s3://golden/ingot/"), "{said}");
    assert_eq!((objects(&aws), aws.proxy.count("Action=ImportSnapshot")), (1, 0));
    done(&mut aws.abort(&place, &[]));
    assert_eq!((objects(&aws), place.unfinished().len()), (0, 0));

    // Up to the call that moto does not know; the object is named, kept, and not sent again.
    aws.proxy.forget();
    for _ in 0..2 {
        let said = refused(&mut aws.publish(&place, TARGET, &["--retries", "0"]), 75, "import-snapshot");
        assert!(said.contains("made so far: object s3://golden/ingot/"), "{said}");
    }
    assert_eq!((aws.proxy.count("partNumber="), objects(&aws)), (2, 1));
    let call = aws.proxy.bodies("Action=ImportSnapshot").remove(0);
    for part in ["DiskContainer.Format=RAW", "DiskContainer.UserBucket.S3Bucket=golden", "ClientToken="] {
        assert!(call.contains(part), "{part}: {call}");
    }

    // A service that imports.
    let snapshot =
        aws.ask(&["ebs", "start-snapshot", "--volume-size", "1"])["SnapshotId"].as_str().unwrap().to_string();
    let answer = |action: &str, inside: &str| {
        let text = format!("<{action}Response><requestId>1</requestId>{inside}</{action}Response>");
        aws.proxy.rule(&format!("Action={action}&"), Fate::Answer(200, text));
    };
    answer("ImportSnapshot", "<importTaskId>import-snap-1</importTaskId>");
    let detail = |status: &str, more: &str| {
        let detail = format!("<snapshotTaskDetail><status>{status}</status>{more}</snapshotTaskDetail>");
        let item = format!("<item><importTaskId>import-snap-1</importTaskId>{detail}</item>");
        format!("<importSnapshotTaskSet>{item}</importSnapshotTaskSet>")
    };
    // Asked for the task that may have begun before, there is none.
    let ask = "Action=DescribeImportSnapshotTasks&";
    let text =
        |inside: &str| format!("<DescribeImportSnapshotTasksResponse>{inside}</DescribeImportSnapshotTasksResponse>");
    aws.proxy.rule_times(ask, Fate::Answer(200, text("<importSnapshotTaskSet/>")), 0, 1);
    aws.proxy.rule_times(ask, Fate::Answer(200, text(&detail("active", "<progress>40</progress>"))), 0, 2);
    answer("DescribeImportSnapshotTasks", &detail("completed", &format!("<snapshotId>{snapshot}</snapshotId>")));
    let (id, said) = done(&mut aws.publish(&place, TARGET, &[]));
    assert!(id.starts_with("ami-") && said.contains("goes on from an earlier run"), "{said}");
    assert_eq!((aws.proxy.count("partNumber="), objects(&aws)), (2, 0));
    let tags = ["ec2", "describe-tags", "--filters"];
    let filter = json!([{"Name": "resource-id", "Values": [snapshot]}, {"Name": "key", "Values": ["ingot-digest"]}]);
    assert_eq!(aws.ask(&[&tags[..], &[&filter.to_string()]].concat())["Tags"].as_array().unwrap().len(), 1);
    assert_eq!((place.catalog(), place.unfinished().len()), (vec![(id, "candidate".to_string())], 0));
}

#[test]
fn parts_of_an_upload_to_s3_that_was_killed_are_removed() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(17 << 20, &[0, 1, 33]);
    place.parameters(PARAMETERS);
    make_bucket(&aws);
    let interrupted = || {
        aws.proxy.rule_times("partNumber=3", Fate::NoAnswer, 0, 1);
        let before = aws.proxy.count("partNumber=3");
        killed(&mut aws.publish(&place, TARGET, &[]), || aws.proxy.wait_for("partNumber=3", before + 1));
        assert_eq!((parts(&aws), objects(&aws)), (1, 0));
    };
    interrupted();
    done(&mut aws.abort(&place, &[]));
    assert_eq!((parts(&aws), objects(&aws), place.unfinished().len()), (0, 0, 0));
    // Or given up by the next run, which sends all of it.
    interrupted();
    refused(&mut aws.publish(&place, TARGET, &["--retries", "0"]), 75, "import-snapshot");
    assert_eq!((parts(&aws), objects(&aws)), (0, 1));
    // What no task tells of is removed; moto cannot be asked for tasks.
    let none = "<DescribeImportSnapshotTasksResponse><importSnapshotTaskSet/></DescribeImportSnapshotTasksResponse>";
    aws.proxy.rule("Action=DescribeImportSnapshotTasks", Fate::Answer(200, none.into()));
    done(&mut aws.abort(&place, &[]));
    assert_eq!((parts(&aws), objects(&aws), place.unfinished().len()), (0, 0, 0));
}
