//! Where a symbol's bars are: what a `source` says.

use crate::ids::Symbol;

/// What stands for the symbol in a `source`.
pub(super) const SYMBOL: &str = "{symbol}";

/// What the name of an object of the data bucket begins with.
pub const STORE_SCHEME: &str = "store://";

/// Schemes of addresses elsewhere.
const URL_SCHEMES: [&str; 3] = ["https", "http", "s3"];

/// Where one symbol's bars are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source<'a> {
    /// A path below the data folder.
    File(&'a str),
    /// The name of an object in the data bucket.
    Store(&'a str),
    /// An address of a web server or of S3.
    Url(&'a str),
}

impl<'a> Source<'a> {
    /// What a source means, with its symbol filled in or not.
    ///
    /// # Errors
    ///
    /// The scheme, if it is none that is read.
    pub fn of(text: &'a str) -> Result<Self, &'a str> {
        if let Some(name) = text.strip_prefix(STORE_SCHEME) {
            return Ok(Self::Store(name));
        }
        match text.split_once("://") {
            None => Ok(Self::File(text)),
            Some((scheme, _)) if URL_SCHEMES.contains(&scheme) => Ok(Self::Url(text)),
            Some((scheme, _)) => Err(scheme),
        }
    }

    /// Whether it is a path below the data folder.
    pub fn is_file(text: &'a str) -> bool {
        matches!(Self::of(text), Ok(Self::File(_)))
    }
}

/// A source with the symbol filled in.
pub(super) fn fill(source: &str, symbol: &Symbol) -> String {
    source.replace(SYMBOL, symbol.as_str())
}

/// Whether any part of a path is `..`, which would lead out of where it belongs.
pub(super) fn climbs(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| part == "..")
}

/// Why the path of an address may lead out of the folder it seems to be in, if it may: servers disagree on what is a slash.
/// `url` is all of the address.
pub fn url_path_problem(url: &str) -> Option<&'static str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if climbs(rest) {
        return Some("it contains \"..\"");
    }
    let path = rest.split(['?', '#']).next().unwrap_or(rest).to_ascii_lowercase();
    if path.contains("%2f") || path.contains("%5c") {
        return Some("a slash in it is written as %2f or %5c: write it as /");
    }
    let parts = path.replace("%2e", ".");
    let climbs = parts.split('/').any(|part| part == ".." || part.starts_with("..;"));
    climbs.then_some("a part of it is \"..\", or begins with \"..;\"")
}

/// Why this is no name of an object in the data bucket, if it is none.
pub fn store_name_problem(name: &str) -> Option<&'static str> {
    /// Longest name, in bytes: it is part of a subject, in base64.
    const LONGEST: usize = 512;
    if name.is_empty() || name.len() > LONGEST {
        return Some("a name has 1 to 512 bytes");
    }
    if climbs(name) {
        return Some("it contains \"..\"");
    }
    if name.split('/').any(|part| part.is_empty() || part == ".") {
        return Some("it has an empty part, or a part that is \".\": write it as in daily/AAPL.csv");
    }
    name.chars().any(char::is_control).then_some("it has a control character")
}

/// Why this is no address of bars, if it is none. Whether it is allowed is for the worker to say.
pub(super) fn url_problem(url: &str) -> Option<&'static str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if host.is_empty() {
        return Some("it names no host");
    }
    if host.contains('@') {
        // What a spec says is in every result and in the database.
        return Some("it has a user in it: a spec is no place for passwords");
    }
    url_path_problem(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_names_or_addresses() {
        assert_eq!(Source::of("daily/{symbol}.csv"), Ok(Source::File("daily/{symbol}.csv")));
        assert_eq!(Source::of("store://daily/A.csv"), Ok(Source::Store("daily/A.csv")));
        for url in ["https://h/A.csv", "http://h/A.csv", "s3://b/A.csv"] {
            assert_eq!(Source::of(url), Ok(Source::Url(url)));
        }
        for (bad, scheme) in [("ftp://h/A.csv", "ftp"), ("HTTPS://h/A.csv", "HTTPS"), ("://A.csv", "")] {
            assert_eq!(Source::of(bad), Err(scheme));
        }
    }

    #[test]
    fn addresses_have_a_host_and_no_password() {
        for good in ["https://h/a/A.csv", "s3://bucket/A.csv", "http://h:8000/A.csv?x=a@b"] {
            assert_eq!(url_problem(good), None, "{good}");
        }
        for bad in ["https:///A.csv", "https://u:p@h/A.csv", "s3://b/../c/A.csv", "https://h/a/..%2fA.csv"] {
            assert!(url_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn addresses_stay_where_they_are() {
        for good in ["https://h/a..b/A;v=1.csv", "https://h/A.csv?X-Amz-Credential=a%2Fb", "https://h/...;/%2eA.csv"] {
            assert_eq!(url_path_problem(good), None, "{good}");
        }
        for bad in [
            "https://h/../A.csv",
            "https://h/a/..%2fA.csv",
            "https://h/a/..%2FA.csv",
            "https://h/a/..%5cA.csv",
            "https://h/a/x%2Fy.csv",
            "https://h/a/..;/A.csv",
            "https://h/a/..;x=1/A.csv",
            "https://h/a/%2e%2e/A.csv",
            "https://h/a/.%2E;x/A.csv",
            "https://h/a\\..\\A.csv",
        ] {
            assert!(url_path_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn names_of_objects_stay_where_they_are() {
        for good in ["A.csv", "daily/A.csv", "a..b/c", "\u{e9}/A.csv"] {
            assert_eq!(store_name_problem(good), None, "{good}");
        }
        for bad in ["", "/A.csv", "a//b", "a/", "../A.csv", "a/../b", "a\\..\\b", "./a", "a\nb", &"x".repeat(513)] {
            assert!(store_name_problem(bad).is_some(), "{bad}");
        }
    }
}
