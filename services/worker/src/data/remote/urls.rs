//! Bars at an address: which ones are allowed, and asking a server for them.
//!
//! An object of S3 is asked for at an address that is signed for a while, so that there is one way to ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use jetsweep_shared::config::DataConfig;
use jetsweep_shared::spec::url_path_problem;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderName, LAST_MODIFIED, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};

use crate::data::DataError;

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a signed address is good for: longer than any fetch may take.
const SIGNED_TIME: Duration = Duration::from_secs(2 * 3600);

/// Most redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// Scheme of addresses that must be signed.
const S3: &str = "s3";

/// What a server says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// Differs when the content does, if the server says so.
    pub(super) tag: Option<String>,
    /// Its size, if the server knows.
    pub(super) bytes: Option<u64>,
}

impl Version {
    /// Whether what is said in two answers cannot be of the same content. Servers say less in some answers than in others.
    pub(super) fn differs(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        differ(self.tag.as_ref(), other.tag.as_ref()) || differ(self.bytes, other.bytes)
    }
}

/// Asks servers for files, at the addresses that are allowed.
#[derive(Debug)]
pub(super) struct Urls {
    allowed: Arc<[String]>,
    client: OnceLock<Result<Client, String>>,
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl Urls {
    pub(super) fn new(config: &DataConfig) -> Self {
        let allowed = config.url_prefixes().filter_map(folder).collect();
        Self { allowed, client: OnceLock::new(), buckets: Mutex::default() }
    }

    /// Whether bars may be read at an address.
    ///
    /// # Errors
    /// [`DataError::Refused`].
    pub(super) fn check(&self, source: &str) -> Result<Url, DataError> {
        let refused = |reason: String| DataError::Refused { source_path: source.to_owned(), reason };
        let url = Url::parse(source).map_err(|error| refused(format!("it is no address: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has a user in it".to_owned()));
        }
        if let Some(problem) = url_path_problem(source) {
            return Err(refused(problem.to_owned()));
        }
        // What is compared is what is asked for: nothing is written in another way on the way.
        if url.as_str() != source {
            return Err(refused(format!("it is not written as addresses are: write {url}")));
        }
        if url.scheme() == S3 {
            object(&url).map_err(refused)?;
        }
        if is_allowed(&self.allowed, &url) {
            return Ok(url);
        }
        Err(refused(format!(
            "nothing in data.allowed_urls allows it: whoever runs the workers adds what it begins with there, as in \
             JETSWEEP_DATA__ALLOWED_URLS={}",
            url.join(".").map_or_else(|_| url.to_string(), |folder| folder.to_string())
        )))
    }

    /// What the server says of the file at an address.
    pub(super) async fn look(&self, url: &Url) -> Result<Version, DataError> {
        let response = self.ask(Method::HEAD, url).await?;
        // A server that does not know this question is asked for the file, which is then not read.
        let response = match response.status() {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => self.ask(Method::GET, url).await?,
            _ => response,
        };
        let mut version = version(&checked(response, url)?);
        // Where a server makes the file only when asked for it, this is all that it knows.
        version.bytes = version.bytes.filter(|bytes| *bytes > 0);
        Ok(version)
    }

    /// The file at an address, in pieces.
    pub(super) async fn get(
        &self,
        url: &Url,
    ) -> Result<(Version, impl Stream<Item = Result<Bytes, DataError>> + Send + use<>), DataError> {
        let response = checked(self.ask(Method::GET, url).await?, url)?;
        let (version, url) = (version(&response), url.clone());
        let pieces = response.bytes_stream().map_err(move |error| unreadable(&url, words(error)));
        Ok((version, pieces))
    }

    async fn ask(&self, method: Method, url: &Url) -> Result<Response, DataError> {
        let client = self.client.get_or_init(|| client(Arc::clone(&self.allowed)));
        let client = client.as_ref().map_err(|error| unreadable(url, error.clone()))?;
        let address = match url.scheme() {
            S3 => self.signed(&method, url).await.map_err(|error| unreadable(url, error))?,
            _ => url.clone(),
        };
        client.request(method, address).send().await.map_err(|error| unreadable(url, words(error)))
    }

    async fn signed(&self, method: &Method, url: &Url) -> Result<Url, String> {
        let path = object(url)?;
        let bucket = self.bucket(url.host_str().unwrap_or_default()).map_err(|error| error.to_string())?;
        let signed = bucket.signed_url(method.clone(), &path, SIGNED_TIME).await;
        signed.map_err(|error| format!("cannot sign the request, see the AWS_ variables: {error}"))
    }

    fn bucket(&self, name: &str) -> object_store::Result<Arc<AmazonS3>> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Ok(Arc::clone(bucket));
        }
        let bucket = Arc::new(AmazonS3Builder::from_env().with_bucket_name(name).build()?);
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }
}

/// A prefix as the folder it stands for, so that `https://host/bars` allows nothing at `https://host/bars-of-others`.
fn folder(prefix: &str) -> Option<String> {
    let url = Url::parse(prefix);
    if let Err(error) = &url {
        tracing::warn!(prefix, %error, "data.allowed_urls has what is no address");
    }
    let text = url.ok()?.to_string();
    Some(if text.ends_with('/') { text } else { text + "/" })
}

fn is_allowed(allowed: &[String], url: &Url) -> bool {
    allowed.iter().any(|folder| url.as_str().starts_with(folder.as_str()))
}

/// The key of an object of S3, or why the address is of none.
fn object(url: &Url) -> Result<Path, String> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an object of S3 has no query and no fragment".to_owned());
    }
    if url.path().ends_with('/') {
        return Err("it names no object: write the key of one, as in s3://bucket/daily/AAPL.csv".to_owned());
    }
    let path = Path::from_url_path(url.path());
    path.map_err(|error| format!("its key is none that is read: {error}; write one as in s3://bucket/daily/AAPL.csv"))
}

/// A client that is led nowhere that is not allowed.
fn client(allowed: Arc<[String]>) -> Result<Client, String> {
    // Fails only when the process has a provider, which then is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = redirect::Policy::custom(move |attempt| {
        let to = attempt.url();
        if to.scheme() == S3 || !is_allowed(&allowed, to) || url_path_problem(to.as_str()).is_some() {
            return attempt.stop();
        }
        match attempt.previous().len() > MOST_REDIRECTS {
            true => attempt.error(format!("it redirects more than {MOST_REDIRECTS} times")),
            false => attempt.follow(),
        }
    });
    let builder = Client::builder().connect_timeout(CONNECT_TIME).read_timeout(SILENCE).redirect(policy);
    // Where it was led from may be a signed address.
    builder.referer(false).build().map_err(words)
}

/// A response that has the file.
fn checked(response: Response, url: &Url) -> Result<Response, DataError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(redirected(&response, url));
    }
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(DataError::NotThere { source_path: url.to_string() }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let advice = match url.scheme() {
                S3 => "the AWS_ variables of this process may not read it, or there is no such object",
                _ => "it wants somebody to sign in, which workers do not",
            };
            Err(unreadable(url, format!("the server says {status}: {advice}")))
        }
        status if status.is_success() => Ok(response),
        status => Err(unreadable(url, format!("the server says {status}"))),
    }
}

/// Why nobody follows where a response leads to.
fn redirected(response: &Response, url: &Url) -> DataError {
    let location = header(response, &LOCATION);
    let to = location.and_then(|location| response.url().join(&location).ok());
    let place = to.as_ref().map_or_else(|| "nowhere".to_owned(), place);
    if url.scheme() == S3 {
        let advice = "the bucket is elsewhere, see AWS_REGION and AWS_ENDPOINT_URL of this process";
        let status = response.status();
        return unreadable(url, format!("the server says {status} and redirects to {place}: {advice}"));
    }
    let reason = match to.and_then(|to| url_path_problem(to.as_str())) {
        Some(problem) => format!("it redirects to {place}: {problem}"),
        None => format!("it redirects to {place}, which data.allowed_urls does not allow"),
    };
    DataError::Refused { source_path: url.to_string(), reason }
}

/// An address without what may be a signature or a password.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// What a response says of the file.
fn version(response: &Response) -> Version {
    let bytes = header(response, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
    Version { tag: header(response, &ETAG).or_else(|| header(response, &LAST_MODIFIED)), bytes }
}

fn header(response: &Response, name: &HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn unreadable(url: &Url, reason: String) -> DataError {
    DataError::Unreadable { what: url.to_string(), reason }
}

/// An error with all its causes, without the address: it may be signed.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(allowed: &str) -> Urls {
        Urls::new(&DataConfig { allowed_urls: Some(allowed.to_owned()), ..DataConfig::default() })
    }

    #[test]
    fn only_what_begins_as_allowed_is_read() {
        let urls = urls("https://bars.example/daily, s3://bucket,http://127.0.0.1:8000/");
        for good in [
            "https://bars.example/daily/A.csv",
            "https://bars.example/daily/x/A.csv?v=1",
            "s3://bucket/A.csv",
            "http://127.0.0.1:8000/A%20B.csv",
        ] {
            assert_eq!(urls.check(good).unwrap().as_str(), good);
        }
        for bad in [
            "https://bars.example/A.csv",
            "https://bars.example/daily-of-others/A.csv",
            "https://bars.example.evil/daily/A.csv",
            "https://bars.example@evil/daily/A.csv",
            "https://bars.example/daily/../A.csv",
            "https://bars.example/daily/%2e%2e/A.csv",
            "https://bars.example/daily\\..\\A.csv",
            "https://bars.example/daily/..%2fA.csv",
            "https://bars.example/daily/..%5CA.csv",
            "https://bars.example/daily/..;/A.csv",
            "https://bars.example/daily/%2e%2e;/A.csv",
            "http://bars.example/daily/A.csv",
            "https://u:p@bars.example/daily/A.csv",
            "https://BARS.example/daily/A.csv",
            "https://bars.example:443/daily/A.csv",
            "https://bars.example/daily/A B.csv",
            "s3://bucket-2/A.csv",
            "s3://bucket/A.csv?v=1",
            "s3://bucket/A.csv#1",
            "s3://bucket/",
            "s3://bucket/daily/",
            "s3://bucket/daily//A.csv",
            "s3://bucket/a%2f..%2fA.csv",
            "s3://bucket/%ff.csv",
            "http://127.0.0.1:80001/A.csv",
            "https:///A.csv",
        ] {
            let error = urls.check(bad).unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("data_refused", false), "{bad}: {error}");
        }
        let told = urls.check("https://other.example/bars/A.csv").unwrap_err().to_string();
        assert!(told.contains("JETSWEEP_DATA__ALLOWED_URLS=https://other.example/bars/"), "{told}");
        let told = urls.check("https://bars.example/daily/A B.csv").unwrap_err().to_string();
        assert!(told.contains("write https://bars.example/daily/A%20B.csv"), "{told}");
        let told = urls.check("s3://bucket/daily//A.csv").unwrap_err().to_string();
        assert!(told.contains("its key is none") && told.contains("write one as in s3://"), "{told}");
    }

    #[test]
    fn what_is_not_said_does_not_differ() {
        let of = |tag: Option<&str>, bytes| Version { tag: tag.map(str::to_owned), bytes };
        let all = of(Some("1"), Some(2));
        for same in [&all, &of(None, None), &of(None, Some(2)), &of(Some("1"), None)] {
            assert!(!all.differs(same) && !same.differs(&all), "{same:?}");
        }
        for other in [of(Some("2"), Some(2)), of(Some("1"), Some(3)), of(None, Some(3)), of(Some("2"), None)] {
            assert!(all.differs(&other) && other.differs(&all), "{other:?}");
        }
    }

    #[test]
    fn signatures_are_not_shown() {
        let signed = Url::parse("https://u:secret@h:81/a/A.csv?X-Amz-Signature=secret#secret").unwrap();
        assert_eq!(place(&signed), "https://h:81/a/A.csv");
    }

    #[test]
    fn nothing_is_allowed_unless_told() {
        assert!(Urls::new(&DataConfig::default()).check("https://bars.example/A.csv").is_err());
    }
}
