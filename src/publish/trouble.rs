//! What it means when a cloud says no.
//!
//! In: what a vendor's program printed before it failed. Out: a [`Trouble`], with its exit code and a hint. Never the
//! other way round: a text that is not known is a plain failure, which is not tried again.

use crate::error::Exit;

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The session is over.
    Expired,
    /// The credentials are wrong, or may not do this.
    Denied,
    /// The program has no credentials.
    NoCredentials,
    /// A limit of the account is reached.
    Quota,
    /// Something of that name is there already.
    Conflict,
    /// What is named is not there.
    Missing,
    /// Too many requests, a server's error, a broken connection: it may work later.
    Temporary,
    /// Anything else.
    Other,
}

/// Texts in lower case; the first one found decides, so special ones stand before general ones.
const TEXTS: &[(&str, Trouble)] = &[
    // Sessions that are over: AWS, Azure (Entra ID), Google, Keystone.
    ("expiredtoken", Trouble::Expired),
    ("requestexpired", Trouble::Expired),
    ("token has expired", Trouble::Expired),
    ("token is expired", Trouble::Expired),
    ("token included in the request is expired", Trouble::Expired),
    ("expired or is otherwise invalid", Trouble::Expired),
    ("session associated with this profile has expired", Trouble::Expired),
    ("aadsts700082", Trouble::Expired),
    ("aadsts50173", Trouble::Expired),
    ("aadsts70043", Trouble::Expired),
    ("invalid_grant", Trouble::Expired),
    ("reauthentication", Trouble::Expired),
    ("lifetime validation failed", Trouble::Expired),
    // No credentials at all.
    ("unable to locate credentials", Trouble::NoCredentials),
    ("config profile (", Trouble::NoCredentials),
    ("run 'az login'", Trouble::NoCredentials),
    ("run az login", Trouble::NoCredentials),
    ("missing credentials to access storage", Trouble::NoCredentials),
    ("do not currently have an active account", Trouble::NoCredentials),
    ("gcloud auth login", Trouble::NoCredentials),
    ("anonymous caller", Trouble::NoCredentials),
    ("missing value auth-url", Trouble::NoCredentials),
    ("auth-url required", Trouble::NoCredentials),
    ("missing value", Trouble::NoCredentials),
    // What AWS calls a limit of requests goes away by itself.
    ("requestlimitexceeded", Trouble::Temporary),
    ("concurrentlimitexceeded", Trouble::Temporary),
    // Limits.
    ("quota", Trouble::Quota),
    ("limitexceeded", Trouble::Quota),
    ("limit exceeded for", Trouble::Quota),
    ("requestentitytoolarge", Trouble::Quota),
    ("http 413", Trouble::Quota),
    ("insufficient storage", Trouble::Quota),
    // Come back later.
    ("throttl", Trouble::Temporary),
    ("slowdown", Trouble::Temporary),
    ("slow down", Trouble::Temporary),
    ("toomanyrequests", Trouble::Temporary),
    ("too many requests", Trouble::Temporary),
    ("ratelimit", Trouble::Temporary),
    ("rate limit", Trouble::Temporary),
    ("serverbusy", Trouble::Temporary),
    ("internalerror", Trouble::Temporary),
    ("internalservererror", Trouble::Temporary),
    ("internal server error", Trouble::Temporary),
    ("internalfailure", Trouble::Temporary),
    ("internalserverexception", Trouble::Temporary),
    ("serverinternal", Trouble::Temporary),
    ("occurred (unavailable)", Trouble::Temporary),
    ("serviceunavailable", Trouble::Temporary),
    ("service unavailable", Trouble::Temporary),
    ("bad gateway", Trouble::Temporary),
    ("gateway timeout", Trouble::Temporary),
    ("operationtimedout", Trouble::Temporary),
    ("could not connect to the endpoint", Trouble::Temporary),
    ("connection was closed", Trouble::Temporary),
    ("connection refused", Trouble::Temporary),
    ("connection reset", Trouble::Temporary),
    ("connection aborted", Trouble::Temporary),
    ("connection broken", Trouble::Temporary),
    ("remote end closed", Trouble::Temporary),
    ("failed to establish a new connection", Trouble::Temporary),
    ("unable to establish connection", Trouble::Temporary),
    ("timed out", Trouble::Temporary),
    ("timeout", Trouble::Temporary),
    ("temporary failure in name resolution", Trouble::Temporary),
    ("no such host", Trouble::Temporary),
    ("unexpected eof", Trouble::Temporary),
    // Credentials that are wrong or weak.
    ("accessdenied", Trouble::Denied),
    ("access denied", Trouble::Denied),
    ("accessforbidden", Trouble::Denied),
    ("unauthorized", Trouble::Denied),
    ("authfailure", Trouble::Denied),
    ("invalidclienttokenid", Trouble::Denied),
    ("invalidaccesskeyid", Trouble::Denied),
    ("unrecognizedclient", Trouble::Denied),
    ("signaturedoesnotmatch", Trouble::Denied),
    ("authenticationfailed", Trouble::Denied),
    ("authorizationfailure", Trouble::Denied),
    ("authorizationfailed", Trouble::Denied),
    ("authorizationpermissionmismatch", Trouble::Denied),
    ("invalidauthenticationinfo", Trouble::Denied),
    ("requires authentication", Trouble::Denied),
    ("authentication required", Trouble::Denied),
    ("invalid username/password", Trouble::Denied),
    // What az says of any 403 of a storage account.
    ("blocked by network rules of storage account", Trouble::Denied),
    ("permission denied", Trouble::Denied),
    ("permission_denied", Trouble::Denied),
    ("forbidden", Trouble::Denied),
    ("access to the resource is denied", Trouble::Denied),
    ("requested access", Trouble::Denied),
    // Something of that name is there.
    ("invalidaminame.duplicate", Trouble::Conflict),
    ("already exists", Trouble::Conflict),
    ("blobalreadyexists", Trouble::Conflict),
    ("alreadyexists", Trouble::Conflict),
    // What is named is not there.
    ("nosuchbucket", Trouble::Missing),
    ("nosuchkey", Trouble::Missing),
    ("bucketnotfound", Trouble::Missing),
    ("containernotfound", Trouble::Missing),
    ("blobnotfound", Trouble::Missing),
    ("the specified blob does not exist", Trouble::Missing),
    ("the specified container does not exist", Trouble::Missing),
    ("accountnotfound", Trouble::Missing),
    ("resourcegroupnotfound", Trouble::Missing),
    ("resourcenotfound", Trouble::Missing),
    ("notfound", Trouble::Missing),
    ("not found", Trouble::Missing),
    ("could not find", Trouble::Missing),
    ("no urls matched", Trouble::Missing),
    ("matched no objects", Trouble::Missing),
    ("does not exist", Trouble::Missing),
    ("no image found", Trouble::Missing),
    ("name unknown", Trouble::Missing),
    ("manifest unknown", Trouble::Missing),
    // Status numbers, where no word tells more.
    ("401", Trouble::Denied),
    ("403", Trouble::Denied),
    ("404", Trouble::Missing),
    ("409", Trouble::Conflict),
    ("429", Trouble::Temporary),
    ("500", Trouble::Temporary),
    ("502", Trouble::Temporary),
    ("503", Trouble::Temporary),
    ("504", Trouble::Temporary),
];

impl Trouble {
    /// What the text of a failed program tells. What was named to it tells nothing: an image may be called `quota-server`.
    pub fn of(said: &str, arguments: &[String]) -> Trouble {
        let mut said = said.to_ascii_lowercase();
        let named = arguments.iter().filter(|argument| !argument.starts_with("--"));
        for name in named.flat_map(|argument| argument.split(|char: char| "/:=,'\" ".contains(char))) {
            let name = name.to_ascii_lowercase();
            if TEXTS.iter().any(|(text, _)| !is_number(text) && name.contains(text)) {
                said = said.replace(&name, "...");
            }
        }
        TEXTS.iter().find(|(text, _)| contains(&said, text)).map_or(Trouble::Other, |(_, trouble)| *trouble)
    }

    /// The exit code that goes with it.
    pub fn exit(self) -> Exit {
        match self {
            Trouble::Expired | Trouble::Denied => Exit::Permission,
            Trouble::NoCredentials => Exit::Configuration,
            Trouble::Quota | Trouble::Conflict => Exit::CannotCreate,
            Trouble::Missing => Exit::InputMissing,
            Trouble::Temporary => Exit::Temporary,
            Trouble::Other => Exit::Io,
        }
    }

    /// What may help.
    pub fn hint(self, program: &str) -> Option<String> {
        Some(match self {
            Trouble::Expired => format!("the session is over: log in again with {program}'s own means"),
            Trouble::Denied => format!("{program} uses other credentials than are needed, or they lack a permission"),
            Trouble::NoCredentials => {
                format!("give {program} credentials in its own way; ingot neither asks for nor keeps them")
            }
            Trouble::Quota => "a limit of the account is reached: remove what is not needed, or ask for more".into(),
            Trouble::Conflict => {
                "something of that name is there already; `name` in publish.toml gives another one".into()
            }
            Trouble::Missing => {
                "what the command names must be there first: ingot makes no bucket, container or group".into()
            }
            Trouble::Temporary => "try again later; what is there already is used".into(),
            Trouble::Other => return None,
        })
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Numbers stand alone: `(500)`, `HTTP 500`, not in an identifier.
fn contains(said: &str, text: &str) -> bool {
    if !is_number(text) {
        return said.contains(text);
    }
    let alone = |at: usize| {
        let joins = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '.' || char == ':';
        let before = said[..at].chars().next_back();
        let after = said[at + text.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(|char| char.is_ascii_alphanumeric() || char == '-')
    };
    said.match_indices(text).any(|(at, _)| alone(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cloud_says_is_understood() {
        let table = [
            ("An error occurred (ExpiredTokenException) when calling the StartSnapshot operation", Trouble::Expired),
            ("An error occurred (InvalidAccessKeyId) when calling the PutObject operation", Trouble::Denied),
            ("An error occurred (403) when calling the HeadObject operation: Forbidden", Trouble::Denied),
            (
                "Unable to locate credentials. You can configure credentials by running \"aws login\".",
                Trouble::NoCredentials,
            ),
            ("The config profile (x) could not be found", Trouble::NoCredentials),
            ("An error occurred (RequestLimitExceeded) when calling the RegisterImage operation", Trouble::Temporary),
            (
                "An error occurred (InternalServerException) when calling the StartSnapshot operation",
                Trouble::Temporary,
            ),
            ("An error occurred (ConcurrentLimitExceededException) when calling", Trouble::Temporary),
            ("An error occurred (ServiceQuotaExceededException) when calling", Trouble::Quota),
            ("An error occurred (NoSuchBucket) when calling the PutObject operation", Trouble::Missing),
            ("An error occurred (InvalidAMIName.Duplicate) when calling", Trouble::Conflict),
            ("ERROR: Please run 'az login' to setup account.", Trouble::NoCredentials),
            ("ErrorCode:ContainerNotFound", Trouble::Missing),
            ("ServiceException: 401 Anonymous caller does not have storage.objects.create", Trouble::NoCredentials),
            ("BucketNotFoundException: 404 gs://x bucket does not exist.", Trouble::Missing),
            ("The request you have made requires authentication. (HTTP 401)", Trouble::Denied),
            ("HttpException: 500: Server Error for url: http://127.0.0.1:9292/v2/images", Trouble::Temporary),
            ("Cloud nowhere was not found.", Trouble::Missing),
            ("unauthorized: authentication required", Trouble::Denied),
            ("reading manifest 1 in 127.0.0.1:5000/app: manifest unknown", Trouble::Missing),
            ("dial tcp 127.0.0.1:5001: connect: connection refused", Trouble::Temporary),
            ("received unexpected HTTP status: 500 Internal Server Error", Trouble::Temporary),
            ("toomanyrequests: You have reached your pull rate limit", Trouble::Temporary),
            ("cannot open image-500-x and ami-404", Trouble::Other),
        ];
        for (said, wanted) in table {
            assert_eq!(Trouble::of(said, &[]), wanted, "{said}");
        }
    }

    #[test]
    fn what_a_command_names_is_no_trouble() {
        let table = [
            ("az image show --name quota-1.0", "(ResourceNotFound) images/quota-1.0 was not found.", Trouble::Missing),
            ("gsutil stat gs://timeouts/o", "gs://timeouts bucket does not exist.", Trouble::Missing),
            ("aws s3 cp a s3://slowdown/k", "An error occurred (NoSuchBucket): slowdown", Trouble::Missing),
            (
                "skopeo inspect docker://h/forbidden:1",
                "reading manifest 1 in h/forbidden: manifest unknown",
                Trouble::Missing,
            ),
            ("az image create --tags a=throttled", "(Conflict) throttled", Trouble::Other),
            ("gcloud compute images create quota", "Quota 'IMAGES' exceeded.  HTTP 403", Trouble::Denied),
            ("aws ebs start-snapshot --timeout 60", "Read timeout on endpoint URL", Trouble::Temporary),
        ];
        for (command, said, wanted) in table {
            let arguments: Vec<String> = command.split(' ').map(Into::into).collect();
            assert_eq!(Trouble::of(said, &arguments), wanted, "{command}: {said}");
        }
    }
}
