//! A file from the network: resumed where it was cut off, verified by its hash, whole or not there.
//!
//! This module depends on HTTP and files, and not on what is in them.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fs_err::{File, OpenOptions};
use ureq::Agent;

use crate::hash::sha256_hex_of;

/// How long a server may take to be reached, to begin its answer, and to send something more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file somewhere else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Where it is.
    pub url: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its length. No more than that is ever received.
    pub bytes: u64,
}

/// A client with the system's certificates and the proxy of the environment.
#[must_use]
pub fn agent() -> Agent {
    builder(PATIENCE)
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .build(),
        )
        .build()
        .new_agent()
}

/// A client that stops waiting for a server which is silent for so long.
fn builder(patience: Duration) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
}

/// Brings `remote` to `path`. What was already received is in `<path>.part`, and stays there until
/// the file is whole. `progress` is called with how many bytes there are, of how many if that is
/// known.
///
/// # Errors
/// When the server cannot be reached, refuses, or breaks off (run it again to resume); when the
/// file is another one than expected, which removes it; or when it cannot be written.
pub fn fetch(
    agent: &Agent,
    remote: &Remote,
    path: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> anyhow::Result<()> {
    let part = part_of(path);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(&part)?;
    receive(agent, remote, &mut file, progress)?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let found = sha256_hex_of(&mut file)?;
    if found != remote.sha256 {
        fs_err::remove_file(&part)?;
        bail!(
            "`{}` is not the expected file: its SHA-256 is {found}, expected {}; it was removed",
            remote.url,
            remote.sha256
        );
    }
    Ok(fs_err::rename(&part, path)?)
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Appends what is missing of the file.
fn receive(
    agent: &Agent,
    remote: &Remote,
    file: &mut File,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> anyhow::Result<()> {
    let url = &remote.url;
    let mut have = file.seek(SeekFrom::End(0))?;
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let mut response = request.call().with_context(|| format!("cannot reach `{url}`"))?;
    match response.status().as_u16() {
        // The whole file, whatever was asked for.
        200 => {
            file.set_len(0)?;
            have = 0;
        }
        206 => {
            let range = response.headers().get("content-range");
            let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
            ensure!(
                range.starts_with(&format!("bytes {have}-")),
                "`{url}` answered with the range `{range}`, asked for bytes from {have}"
            );
        }
        // Nothing is missing; or there is too much, which the hash shows.
        416 if have > 0 => return Ok(()),
        status => bail!("`{url}` answered with status {status}"),
    }
    let more = response.body().content_length();
    let total = more.map(|more| have.saturating_add(more));
    if let Some(total) = total.filter(|total| *total > remote.bytes) {
        bail!("`{url}` is not the expected file: it has {total} bytes, expected {}", remote.bytes);
    }
    // One byte too many is enough for the hash to differ.
    let limit = (remote.bytes + 1).saturating_sub(have);
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader().take(limit);
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(have, total);
        let len = body.read(&mut buffer).with_context(|| broken(url, have))?;
        if len == 0 {
            break;
        }
        file.write_all(&buffer[..len])?;
        have += len as u64;
    }
    ensure!(total.is_none_or(|total| total == have), broken(url, have));
    Ok(())
}

fn broken(url: &str, have: u64) -> String {
    format!("`{url}` broke off after {have} bytes, which are kept: run the same command to resume")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::hash::sha256_hex;

    /// Answers one request after the other, on loopback; gives back what was asked.
    fn serve(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/weights.pth", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let answer = |answer: Vec<u8>| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request: Vec<String> =
                    lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                stream.write_all(&answer).unwrap();
                request.join("\n").to_lowercase()
            };
            answers.into_iter().map(answer).collect()
        });
        (url, server)
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat()
    }

    fn direct() -> Agent {
        builder(PATIENCE).proxy(None).build().new_agent()
    }

    fn remote(url: &str, content: &[u8]) -> Remote {
        let bytes = content.len() as u64;
        Remote { url: url.to_owned(), sha256: sha256_hex(content), bytes }
    }

    #[test]
    fn a_broken_download_goes_on_where_it_broke() {
        let content: Vec<u8> = (0..200_000u32).map(|index| (index * 7 % 251) as u8).collect();
        let (first, rest) = content.split_at(120_000);
        let (url, server) = serve(vec![
            answer("200 OK\r\ncontent-length: 200000", first),
            answer(
                "206 Partial Content\r\ncontent-length: 80000\r\n\
                 content-range: bytes 120000-199999/200000",
                rest,
            ),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/weights.pth");
        let remote = remote(&url, &content);
        let error = fetch(&direct(), &remote, &path, &mut |_, _| {}).unwrap_err();
        let message = format!("{error:#}");
        assert!(
            message.contains("broke off after 120000 bytes") && message.contains("to resume"),
            "{message}"
        );
        assert!(!path.exists());
        let mut seen = Vec::new();
        fetch(&direct(), &remote, &path, &mut |have, total| seen.push((have, total))).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), content);
        assert!(!part_of(&path).exists());
        assert_eq!(seen.first(), Some(&(120_000, Some(200_000))));
        assert_eq!(seen.last(), Some(&(200_000, Some(200_000))));
        let requests = server.join().unwrap();
        assert!(!requests[0].contains("range:"), "{}", requests[0]);
        assert!(requests[1].contains("range: bytes=120000-"), "{}", requests[1]);
    }

    #[test]
    fn a_server_that_cannot_resume_starts_again() {
        let content = b"weights";
        let (url, server) = serve(vec![answer("200 OK\r\ncontent-length: 7", content)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        fs_err::write(part_of(&path), "we").unwrap();
        fetch(&direct(), &remote(&url, content), &path, &mut |_, _| {}).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), content);
        server.join().unwrap();
    }

    #[test]
    fn another_file_is_removed_and_both_hashes_are_reported() {
        let (url, server) = serve(vec![answer("200 OK\r\ncontent-length: 7", b"another")]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        let error = fetch(&direct(), &remote(&url, b"weights"), &path, &mut |_, _| {}).unwrap_err();
        let message = error.to_string();
        let hashes = [sha256_hex(b"another"), sha256_hex(b"weights")];
        assert!(hashes.iter().all(|hash| message.contains(hash)), "{message}");
        assert!(!path.exists() && !part_of(&path).exists());
        server.join().unwrap();
    }

    /// Its name and the first digits of its hash are easy to imitate.
    #[test]
    fn a_file_whose_hash_begins_alike_is_refused() {
        let content = b"weights";
        let (url, server) = serve(vec![answer("200 OK\r\ncontent-length: 7", content)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        let mut expected = remote(&url, content);
        expected.sha256.replace_range(8.., &"0".repeat(56));
        let error = fetch(&direct(), &expected, &path, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("not the expected file"), "{error:#}");
        assert!(!path.exists());
        server.join().unwrap();
    }

    #[test]
    fn no_more_is_received_than_the_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        // One says how much comes, one does not.
        let long = [b"weights".as_slice(), &[0; 1 << 20]].concat();
        let (url, server) = serve(vec![answer("200 OK\r\ncontent-length: 1048583", b"")]);
        let error = fetch(&direct(), &remote(&url, b"weights"), &path, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().ends_with("it has 1048583 bytes, expected 7"), "{error:#}");
        server.join().unwrap();
        let (url, server) = serve(vec![answer("200 OK", &long)]);
        let mut most = 0;
        let error = fetch(&direct(), &remote(&url, b"weights"), &path, &mut |have, _| {
            most = most.max(have);
        });
        assert!(error.unwrap_err().to_string().contains("not the expected file"));
        assert_eq!((most, path.exists()), (8, false));
        drop(server);
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/weights.pth", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answer("200 OK\r\ncontent-length: 7", b"wei")).unwrap();
            // Nothing more, until the client has hung up.
            while stream.read(&mut [0; 1 << 10]).is_ok_and(|len| len > 0) {}
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        let hasty = builder(Duration::from_millis(20)).proxy(None).build().new_agent();
        let error = fetch(&hasty, &remote(&url, b"weights"), &path, &mut |_, _| {}).unwrap_err();
        assert!(format!("{error:#}").contains("broke off after 3 bytes"), "{error:#}");
        assert_eq!(fs_err::read(part_of(&path)).unwrap(), b"wei");
        server.join().unwrap();
    }

    #[test]
    fn a_refusal_is_reported_with_its_status() {
        let (url, server) = serve(vec![answer("404 Not Found\r\ncontent-length: 0", b"")]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pth");
        let error = fetch(&direct(), &remote(&url, b""), &path, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("answered with status 404"), "{error:#}");
        server.join().unwrap();
    }
}
