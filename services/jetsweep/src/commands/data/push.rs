//! `jetsweep data push`: files of bars, checked all of them and then uploaded.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jetsweep_engine::bars::Bars;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::bucket::{DataBucket, Pushed, is_content};
use jetsweep_shared::hex;
use jetsweep_shared::spec::{STORE_SCHEME, store_name_problem};
use jetsweep_shared::topology::{self, Tuning};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::cli::PushArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::number::{self, counted};
use crate::output::{Look, Report};
use crate::services::Services;

/// Files uploaded at the same time.
const UPLOADS: usize = 4;

/// Most problems that are told one by one.
const MOST_TOLD: usize = 20;

/// What files of bars in a folder end in.
const EXTENSION: &str = "csv";

const DOING: &str = "push bars";

pub(super) async fn execute(args: PushArgs, app: &App) -> Answer {
    let files = files(&args)?;
    let checked = check_all(files, app.config.worker.slots).await?;
    let services = Services::need(app, DOING).await?;
    let bucket = bucket(&services, app).await?;
    let pushed: Vec<PushedFile> = futures::stream::iter(checked)
        .map(|file| push(&bucket, file, args.force))
        .buffered(UPLOADS)
        .try_collect()
        .await?;
    Ok(Box::new(PushedFiles { files: pushed }))
}

/// The bucket, made if no planner has been there yet.
async fn bucket(services: &Services, app: &App) -> Result<DataBucket, Failure> {
    let bus = &services.bus;
    if let Some(bucket) = DataBucket::open(bus).await.or_broken(|| DOING)? {
        return Ok(bucket);
    }
    topology::ensure_data(&bus.jetstream, &bus.names, &Tuning::from(&app.config)).await.or_broken(|| DOING)?;
    let made = DataBucket::open(bus).await.or_broken(|| DOING)?;
    made.ok_or_else(|| Failure::broken(DOING, anyhow::anyhow!("the bucket was made, and is not there yet: push again")))
}

/// A file to push.
struct File {
    name: String,
    path: PathBuf,
}

/// One whose content is known and is bars.
struct CheckedFile {
    file: File,
    digest: String,
}

/// The files that are meant, by the names they get.
fn files(args: &PushArgs) -> Result<Vec<File>, Failure> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut problems = Vec::new();
    for path in &args.paths {
        let below = if path.is_dir() { csv_files(path) } else { Ok(vec![path.clone()]) };
        let below = below.or_bad_input(|| format!("{DOING}: look through {}", path.display()))?;
        if below.is_empty() {
            problems.push(Problem::new(path.display().to_string(), format!("has no file ending in .{EXTENSION}")));
        }
        let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new("")) };
        for file in below {
            let name = name(file.strip_prefix(folder).unwrap_or(&file), args.prefix.as_deref());
            let problem = match store_name_problem(&name) {
                Some(problem) => Some(format!("would be {name:?}: {problem}")),
                None if is_content(&name) => Some(format!("would be {name:?}, which names a content: choose another")),
                None => files.insert(name.clone(), file.clone()).map(|other| {
                    format!("would be {name}, as would {}: push them with different prefixes", other.display())
                }),
            };
            problems.extend(problem.map(|problem| Problem::new(file.display().to_string(), problem)));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::problems(DOING, problems));
    }
    Ok(files.into_iter().map(|(name, path)| File { name, path }).collect())
}

/// All files of bars below a folder. Hidden ones are left alone.
fn csv_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            files.extend(csv_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a file is called, whose path below its folder is this.
fn name(below: &Path, prefix: Option<&str>) -> String {
    let parts = below.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let prefix = prefix.map(|prefix| prefix.trim_end_matches('/').to_owned());
    prefix.into_iter().chain(parts).collect::<Vec<_>>().join("/")
}

/// Reads all files as bars, and tells everything that is wrong with them. Nothing is uploaded before.
async fn check_all(files: Vec<File>, at_once: usize) -> Result<Vec<CheckedFile>, Failure> {
    let read = |file: File| async move {
        let path = file.path.clone();
        let read = tokio::task::spawn_blocking(move || check(&path)).await;
        (file, read.unwrap_or_else(|error| Err(error.to_string())))
    };
    let mut reads = futures::stream::iter(files).map(read).buffered(at_once.max(1));
    let (mut checked, mut problems) = (Vec::new(), Vec::new());
    while let Some((file, read)) = reads.next().await {
        match read {
            Ok(digest) => checked.push(CheckedFile { file, digest }),
            Err(problem) => problems.push(Problem::new("", problem)),
        }
    }
    if problems.is_empty() {
        return Ok(checked);
    }
    let more = problems.len().saturating_sub(MOST_TOLD);
    problems.truncate(MOST_TOLD);
    if more > 0 {
        problems.push(Problem::new("", format!("and {more} more files")));
    }
    Err(Failure::problems(DOING, problems).hint("nothing was uploaded"))
}

/// The digest of a file, if it holds bars; else what is wrong with it, and where.
fn check(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string();
    let content = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    Bars::read_csv(content.as_slice(), &shown).map_err(|error| error.to_string())?;
    Ok(hex::encode(Sha256::digest(&content)))
}

async fn push(bucket: &DataBucket, checked: CheckedFile, force: bool) -> Result<PushedFile, Failure> {
    let CheckedFile { file: File { name, path }, digest } = checked;
    let doing = || format!("push {}", path.display());
    let content = Bytes::from(tokio::fs::read(&path).await.or_broken(doing)?);
    if hex::encode(Sha256::digest(&content)) != digest {
        return Err(Failure::broken(doing(), anyhow::anyhow!("it changed while it was pushed: push it again")));
    }
    let how = bucket.push(&name, &digest, &content, force).await.or_broken(doing)?;
    Ok(PushedFile { name, bytes: content.len() as u64, digest, how })
}

#[derive(Serialize)]
struct PushedFile {
    name: String,
    bytes: u64,
    digest: String,
    how: Pushed,
}

/// Files that are in the bucket now.
#[derive(Serialize)]
struct PushedFiles {
    files: Vec<PushedFile>,
}

impl Report for PushedFiles {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let count = |how: Pushed| self.files.iter().filter(|file| file.how == how).count();
        let uploaded = self.files.iter().filter(|file| file.how == Pushed::Uploaded).map(|file| file.bytes).sum();
        writeln!(
            out,
            "{}: {} uploaded ({}), {} there already under another name, {} unchanged",
            look.bold(&counted(self.files.len() as u64, "file")),
            count(Pushed::Uploaded),
            number::bytes(uploaded),
            count(Pushed::Named),
            count(Pushed::Unchanged)
        )?;
        match self.files.first() {
            Some(first) => {
                writeln!(out, "a sweep names them as in source = \"{STORE_SCHEME}{}\"", pattern(&first.name))
            }
            None => Ok(()),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.files.iter().try_for_each(|file| writeln!(out, "{}", file.name))
    }
}

/// A name with `{symbol}` where its file's name stands.
fn pattern(name: &str) -> String {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
    let extension = file.rsplit_once('.').map(|(_, extension)| format!(".{extension}")).unwrap_or_default();
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}{{symbol}}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_their_names_below_the_folder() {
        assert_eq!(name(Path::new("AAPL.csv"), None), "AAPL.csv");
        assert_eq!(name(Path::new("us/AAPL.csv"), Some("daily/")), "daily/us/AAPL.csv");
        assert_eq!(pattern("daily/us/AAPL.csv"), "daily/us/{symbol}.csv");
        assert_eq!(pattern("AAPL"), "{symbol}");
    }

    #[test]
    fn a_folder_has_its_files_of_bars() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["B.csv", "A.csv", "README.md", ".hidden.csv", "us/C.csv"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = csv_files(folder.path()).unwrap();
        let below: Vec<_> = found.iter().map(|path| name(path.strip_prefix(folder.path()).unwrap(), None)).collect();
        assert_eq!(below, ["A.csv", "B.csv", "us/C.csv"]);
    }
}
