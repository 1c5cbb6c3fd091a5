//! TLS, with QEMU at the other end: as the source, and as the destination.

#[path = "../../crates/vmferry/tests/stream/certificates.rs"]
mod certificates;

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use certificates::{Authority, SERVER};
use serde_json::{Value, json};
use vmferry::channel::tls::{Credentials, Tls, TlsError};
use vmferry::channel::{Duplex, File};
use vmferry::load::{self, Image};
use vmferry::stream::{Reader, Writer};
use vmferry::wire::Source;
use vmferry_tests::{Guest, Release, Spec};

/// A guest whose migrations are encrypted with the credentials in a folder.
fn spec(release: Release, side: &str, folder: &Path) -> Spec {
    let dir = folder.display();
    Spec::pattern(release, "pc").arg("-object").arg(format!(
        // QEMU would notice by itself that its own certificate has expired.
        "tls-creds-x509,id=tls,dir={dir},endpoint={side},verify-peer=on,sanity-check=off"
    ))
}

fn use_tls(guest: &Guest) -> Result<()> {
    let parameters = json!({"tls-creds": "tls", "tls-hostname": SERVER});
    guest.execute("migrate-set-parameters", parameters)?;
    Ok(())
}

/// Has `guest` migrate to us.
fn take(guest: &Guest, credentials: &Path) -> Result<Result<Tls, TlsError>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    use_tls(guest)?;
    let uri = format!("tcp:{}", listener.local_addr()?);
    guest.execute("migrate", json!({ "uri": uri }))?;
    let socket = listener.accept()?.0;
    Ok(Tls::accept(
        socket.into(),
        &Credentials::server(credentials)?,
    ))
}

/// Connects to a guest that waits.
fn meet(guest: &Guest, credentials: &Path) -> Result<Result<Tls, TlsError>> {
    use_tls(guest)?;
    guest.execute("migrate-incoming", json!({"uri": "tcp:127.0.0.1:0"}))?;
    let status = guest.execute("query-migrate", Value::Null)?;
    let port = status["socket-address"][0]["port"].as_str();
    let port: u16 = port.context("no port")?.parse()?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    let credentials = Credentials::client(credentials)?;
    Ok(Tls::connect(socket.into(), SERVER, &credentials))
}

/// What an error and its causes say.
fn words(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", words(source)),
        None => error.to_string(),
    }
}

/// Keeps what is taken.
struct Tee<S> {
    inner: S,
    bytes: Vec<u8>,
}

impl<S: Source> Source for Tee<S> {
    type Error = S::Error;

    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], S::Error> {
        let taken = self.inner.take(n, what)?;
        self.bytes.extend_from_slice(taken);
        Ok(taken)
    }

    fn peek(&mut self, n: usize) -> Result<&[u8], S::Error> {
        self.inner.peek(n)
    }

    fn peek_some(&mut self) -> Result<&[u8], S::Error> {
        self.inner.peek_some()
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn expect_end(&mut self) {
        self.inner.expect_end();
    }
}

/// Bytes of a PART section around its pages: its type, its number, the end of its pages, its footer.
const PART: u64 = 1 + 4 + 8 + 5;

#[test]
fn a_guest_comes_from_qemu_and_goes_to_another_with_every_byte_of_it() -> Result<()> {
    for release in Release::ALL {
        let folder = Authority::new().folder();
        let source = spec(release, "client", folder.path()).start()?;
        source.wait_for_passes(2)?;
        source.stop()?;

        let (reader, _writer) = take(&source, folder.path())??.split();
        let mut stream = Tee {
            inner: Reader::new(reader),
            bytes: Vec::new(),
        };
        let options = load::Options::default();
        let taken = load::load(&mut stream, &mut Image::default(), &options)?;
        let Tee { mut inner, bytes } = stream;
        inner.expect_end()?;
        source.wait_for_migration("completed")?;
        ensure!(taken.bytes == bytes.len() as u64, "{taken:?}");

        let guest = spec(release, "server", folder.path())
            .incoming("defer")
            .paused()
            .start()?;
        let (_reader, writer) = meet(&guest, folder.path())??.split();
        let mut writer = Writer::new(writer);
        writer.put_bytes(&bytes);
        writer.close()?;
        guest.wait_for_migration("completed")?;

        // The same guest, as QEMU writes it with no encryption and nobody between.
        guest.execute("migrate-set-parameters", json!({"tls-creds": ""}))?;
        let plain = guest.folder().join("plain");
        guest.migrate_to_file(&plain)?;
        let mut plain = Reader::new(File::open(plain)?);
        let whole = load::load(&mut plain, &mut Image::default(), &options)?;
        // How many sections the RAM comes in depends on how fast it goes.
        let framing = whole.bytes.abs_diff(taken.bytes);
        ensure!(framing % PART == 0, "{release}: {taken:?} {whole:?}");
        let same = load::Summary {
            bytes: whole.bytes,
            ..taken.clone()
        };
        ensure!(same == whole, "{release}: {taken:?} {whole:?}");
        guest.cont()?;
        guest.wait_for_passes(2)?;
    }
    Ok(())
}

/// What each side says of the other when QEMU migrates to us.
fn refused_source(release: Release, ours: &Path, theirs: &Path) -> Result<(String, String)> {
    let source = spec(release, "client", theirs).start()?;
    let refused = take(&source, ours)?.err().context("it was accepted")?;
    let said = source.wait_for_migration("failed")?;
    // What QEMU has to say may be in its log alone.
    Ok((words(&refused), format!("{said} {}", source.log())))
}

#[test]
fn a_source_that_does_not_prove_who_it_is_is_refused() -> Result<()> {
    for release in Release::ALL {
        let (ca, other) = (Authority::new(), Authority::new());
        let ours = ca.folder();

        let (we, qemu) = refused_source(release, ours.path(), other.folder().path())?;
        ensure!(we.contains("was not signed by our CA"), "{we}");
        ensure!(qemu.contains("certificate"), "{qemu}");

        let (we, _) = refused_source(release, ours.path(), ca.expired().path())?;
        ensure!(we.contains("expired"), "{we}");

        let nameless = ca.folder();
        for file in ["client-cert.pem", "client-key.pem"] {
            std::fs::remove_file(nameless.path().join(file))?;
        }
        let (we, _) = refused_source(release, ours.path(), nameless.path())?;
        ensure!(we.contains("has shown no certificate"), "{we}");
    }
    Ok(())
}

/// What we say when QEMU, which waits, does not accept us or we do not accept it.
fn refused_destination(release: Release, ours: &Path, theirs: &Path) -> Result<String> {
    let guest = spec(release, "server", theirs).incoming("defer").start()?;
    let refused = match meet(&guest, ours)? {
        Err(error) => words(&error),
        // With TLS 1.3 the client hears of it when it looks.
        Ok(tls) => words(
            &Reader::new(tls.split().0)
                .get_u8()
                .err()
                .context("it speaks")?,
        ),
    };
    Ok(refused)
}

#[test]
fn a_destination_that_does_not_accept_us_says_why() -> Result<()> {
    for release in Release::ALL {
        let (ca, other) = (Authority::new(), Authority::new());
        let good = ca.folder();

        let we = refused_destination(release, good.path(), other.folder().path())?;
        ensure!(we.contains("was not signed by our CA"), "{we}");

        let we = refused_destination(release, good.path(), ca.expired().path())?;
        ensure!(we.contains("the peer's certificate has expired"), "{we}");

        // Of this QEMU says nothing to us; we say where it does.
        let we = refused_destination(release, ca.expired().path(), good.path())?;
        ensure!(we.contains("found our certificate wrong"), "{we}");
    }
    Ok(())
}
