//! TLS: who is believed, what the end of a stream is, and what a receiver never says.

use std::io;
use std::path::Path;

use vmferry::channel::tls::{Credentials, Tls, TlsError, TlsReader, TlsWriter};
use vmferry::channel::{Duplex, ReadChannel, Socket, WriteChannel};
use vmferry::stream::{ErrorKind, Reader, Writer};

use crate::certificates::{Authority, SERVER};
use crate::conformance::tcp_pair;
use crate::support::pattern;

type Outcome = Result<Tls, TlsError>;

/// What the server and the client come to.
fn meet(server: &Path, client: &Path, name: &str) -> (Outcome, Outcome) {
    let server = Credentials::server(server).unwrap();
    let client = Credentials::client(client).unwrap();
    let (here, there) = tcp_pair();
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| Tls::accept(here, &server));
        let connected = Tls::connect(there, name, &client);
        (accepted.join().unwrap(), connected)
    })
}

/// A client that writes, and a server that reads.
pub(crate) fn pair() -> (TlsWriter, TlsReader) {
    let folder = Authority::new().folder();
    let (server, client) = meet(folder.path(), folder.path(), SERVER);
    (client.unwrap().split().1, server.unwrap().split().0)
}

fn get(reader: &mut Reader<TlsReader>, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    reader.get_into(&mut bytes).unwrap();
    bytes
}

/// All that an error says.
fn words(error: &dyn std::error::Error) -> String {
    let source = error.source().map(words);
    [Some(error.to_string()), source]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(": ")
}

/// Uses a connection that one side believes in until it notices that the other does not. With TLS
/// 1.3 a client is through before the server has seen its certificate.
fn refused(outcome: Outcome) -> String {
    let error = match outcome {
        Err(error) => return words(&error),
        Ok(tls) => {
            let mut reader = Reader::new(tls.split().0);
            reader.get_u8().unwrap_err()
        }
    };
    words(&error)
}

#[test]
fn a_peer_of_another_ca_is_refused_by_both_sides() {
    let (ours, theirs) = (Authority::new().folder(), Authority::new().folder());
    let (server, client) = meet(ours.path(), theirs.path(), SERVER);
    let (server, client) = (refused(server), refused(client));
    assert!(client.contains("was not signed by our CA"), "{client}");
    assert!(
        server.contains("does not know the CA that has signed our certificate"),
        "{server}"
    );
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    let authority = Authority::new();
    let (good, expired) = (authority.folder(), authority.expired());

    let (server, client) = meet(good.path(), expired.path(), SERVER);
    let (server, client) = (refused(server), refused(client));
    assert!(
        server.contains("the peer's certificate has expired"),
        "{server}"
    );
    assert!(
        client.contains("says that our certificate has expired"),
        "{client}"
    );

    let (_, client) = meet(expired.path(), good.path(), SERVER);
    let client = refused(client);
    assert!(
        client.contains("the peer's certificate has expired"),
        "{client}"
    );
}

#[test]
fn a_client_that_shows_no_certificate_is_refused() {
    let folder = Authority::new().folder();
    let server = Credentials::server(folder.path()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(folder.path().join("ca-cert.pem")).unwrap();
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(&ca).unwrap();
    roots.add(ca).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (here, there) = socket_pair();
    let refused = std::thread::scope(|scope| {
        let accepted = scope.spawn(|| Tls::accept(here, &server));
        let name = SERVER.try_into().unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut there = there;
        while client.is_handshaking() {
            client.complete_io(&mut there).unwrap();
        }
        // Its end of the handshake goes out with the refusal coming in, or before.
        let _ = client.complete_io(&mut there);
        accepted.join().unwrap().unwrap_err()
    });
    let refused = words(&refused);
    assert!(
        refused.contains("the client has shown no certificate"),
        "{refused}"
    );
    assert!(refused.contains("client-cert.pem"), "{refused}");
}

fn socket_pair() -> (Socket, std::os::unix::net::UnixStream) {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    (here.into(), there)
}

#[test]
fn a_server_of_another_name_is_refused() {
    let folder = Authority::new().folder();
    let (_, client) = meet(folder.path(), folder.path(), "somewhere.else");
    let client = refused(client);
    assert!(client.contains("is for another name"), "{client}");
    let credentials = Credentials::client(folder.path()).unwrap();
    let nameless = Tls::connect(tcp_pair().0, "no name", &credentials).unwrap_err();
    assert!(
        words(&nameless).contains("'no name' is neither"),
        "{nameless}"
    );
}

#[test]
fn a_peer_that_speaks_no_tls_is_told_from_one() {
    let folder = Authority::new().folder();
    let server = Credentials::server(folder.path()).unwrap();
    let (here, mut there) = socket_pair();
    // The beginning of a migration stream.
    io::Write::write_all(&mut there, b"QEVM\0\0\0\x03").unwrap();
    let error = Tls::accept(here, &server).unwrap_err();
    assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");

    let (here, there) = socket_pair();
    drop(there);
    let error = words(&Tls::accept(here, &server).unwrap_err());
    assert!(error.contains("during the TLS handshake"), "{error}");
}

#[test]
fn credentials_that_cannot_be_used_name_the_file_and_what_is_wrong() {
    let authority = Authority::new();
    type Load = fn(&Path) -> Result<Credentials, TlsError>;
    let sides: [(&str, Load); 2] = [
        ("server", |folder| Credentials::server(folder)),
        ("client", |folder| Credentials::client(folder)),
    ];
    for (side, load) in sides {
        for (file, holds) in [
            ("ca-cert.pem".to_owned(), "a certificate"),
            (format!("{side}-cert.pem"), "a certificate"),
            (format!("{side}-key.pem"), "a private key"),
        ] {
            let folder = authority.folder();
            let path = folder.path().join(&file);
            std::fs::write(&path, "nothing of the kind").unwrap();
            let error = words(&load(folder.path()).unwrap_err());
            assert!(error.contains(&file), "{error}");
            assert!(error.contains(&format!("expected {holds}")), "{error}");
            std::fs::remove_file(&path).unwrap();
            let error = words(&load(folder.path()).unwrap_err());
            assert!(
                error.contains("cannot read") && error.contains(&file),
                "{error}"
            );
        }
        // A key that belongs to another certificate.
        let (folder, other) = (authority.folder(), authority.folder());
        let key = format!("{side}-key.pem");
        std::fs::copy(other.path().join(&key), folder.path().join(&key)).unwrap();
        let error = words(&load(folder.path()).unwrap_err());
        assert!(error.contains("cannot be used"), "{error}");
    }
}

#[test]
fn credentials_of_the_other_side_are_refused() {
    let folder = Authority::new().folder();
    let server = Credentials::server(folder.path()).unwrap();
    let client = Credentials::client(folder.path()).unwrap();
    let error = Tls::accept(tcp_pair().0, &client).unwrap_err();
    assert!(words(&error).contains("a client's"), "{error}");
    let error = Tls::connect(tcp_pair().0, SERVER, &server).unwrap_err();
    assert!(words(&error).contains("a server's"), "{error}");
}

#[test]
fn an_end_that_was_announced_is_the_end() {
    let (writer, reader) = pair();
    let mut writer = Writer::new(writer);
    writer.put_bytes(b"all");
    writer.close().unwrap();
    let mut reader = Reader::new(reader);
    assert_eq!(&reader.get_array::<3>().unwrap(), b"all");
    let error = reader.get_u8().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::UnexpectedEof { .. }),
        "{error:?}"
    );
}

#[test]
fn an_end_that_was_not_announced_may_be_a_cut() {
    let (mut writer, mut reader) = pair();
    writer
        .write_segments(&[vmferry::channel::Segment::new(b"all")])
        .unwrap();
    drop(writer);
    let mut bytes = [0; 3];
    let segment = &mut [vmferry::channel::SegmentMut::new(&mut bytes)];
    assert_eq!(reader.read_segments(segment).unwrap(), 3);
    let error = reader.read_segments(segment).unwrap_err();
    assert!(error.to_string().contains("close_notify"), "{error}");
    // The format has said that it ends here: then it is.
    reader.expect_end();
    assert_eq!(reader.read_segments(segment).unwrap(), 0);
}

#[test]
fn a_receiver_says_nothing_once_hands_are_shaken() {
    // What a sender does not read before it closes turns its end into a reset: QEMU never reads.
    let folder = Authority::new().folder();
    let (here, there) = socket_pair();
    let server = Credentials::server(folder.path()).unwrap();
    let client = Credentials::client(folder.path()).unwrap();
    let mut watch = there.try_clone().unwrap();
    let (accepted, connected) = std::thread::scope(|scope| {
        let accepted = scope.spawn(|| Tls::accept(here, &server));
        let connected = Tls::connect(there.into(), SERVER, &client);
        (accepted.join().unwrap(), connected)
    });
    let (reader, _writer) = accepted.unwrap().split();
    let (_, writer) = connected.unwrap().split();
    let bytes = pattern(1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::new(writer);
            writer.put_bytes(&bytes);
            writer.close().unwrap();
        });
        let mut reader = Reader::new(reader);
        assert!(get(&mut reader, bytes.len()) == bytes);
        assert!(reader.get_u8().is_err());
    });
    drop(_writer);
    let mut unread = Vec::new();
    io::Read::read_to_end(&mut watch, &mut unread).unwrap();
    assert_eq!(unread, b"");
}

#[test]
fn both_directions_at_once_do_not_wait_for_each_other() {
    let folder = Authority::new().folder();
    let (server, client) = meet(folder.path(), folder.path(), SERVER);
    let bytes = pattern(3_000_000);
    std::thread::scope(|scope| {
        for tls in [server.unwrap(), client.unwrap()] {
            let (reader, writer) = tls.split();
            let bytes = &bytes;
            scope.spawn(move || {
                let mut writer = Writer::new(writer);
                writer.put_bytes(bytes);
                writer.close().unwrap();
            });
            scope.spawn(move || {
                let mut reader = Reader::new(reader);
                assert!(get(&mut reader, bytes.len()) == *bytes);
                // What nobody has read when a socket is closed makes the kernel reset the connection,
                // and the other side lose what it has not read.
                reader.expect_end().unwrap();
            });
        }
    });
}
