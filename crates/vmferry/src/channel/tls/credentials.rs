//! Certificates and keys, in a folder as QEMU's `tls-creds-x509` wants them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::TlsError;

/// What one side proves itself with, and whom it believes: `ca-cert.pem`, and `server-cert.pem` and
/// `server-key.pem`, or `client-cert.pem` and `client-key.pem`.
///
/// Each side has to show a certificate that the CA has signed, as with QEMU's `verify-peer=on`.
#[derive(Clone)]
pub struct Credentials {
    folder: PathBuf,
    side: Side,
}

#[derive(Clone)]
enum Side {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

impl Credentials {
    /// Those of a server, in which a destination is.
    ///
    /// # Errors
    /// A file is not there, does not hold what it should, or they do not belong together.
    pub fn server(folder: impl AsRef<Path>) -> Result<Self, TlsError> {
        let folder = folder.as_ref();
        let unusable = |what: String| unusable(folder, what);
        let roots = Arc::new(roots(folder)?);
        let (chain, key) = identity(folder, "server")?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unusable(error.to_string()))?;
        // See the module: unread tickets would cost the tail of the stream.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            folder: folder.to_owned(),
            side: Side::Server(Arc::new(config)),
        })
    }

    /// Those of a client, in which a source is.
    ///
    /// # Errors
    /// As for [`server`](Self::server).
    pub fn client(folder: impl AsRef<Path>) -> Result<Self, TlsError> {
        let folder = folder.as_ref();
        let unusable = |error: rustls::Error| unusable(folder, error.to_string());
        let roots = roots(folder)?;
        let (chain, key) = identity(folder, "client")?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        config.resumption = Resumption::disabled();
        Ok(Self {
            folder: folder.to_owned(),
            side: Side::Client(Arc::new(config)),
        })
    }

    pub(super) fn accept(&self) -> Result<Connection, TlsError> {
        let Side::Server(config) = &self.side else {
            return Err(unusable(&self.folder, "they are a client's".into()));
        };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(TlsError::Protocol)?;
        Ok(connection.into())
    }

    pub(super) fn connect(&self, name: &str) -> Result<Connection, TlsError> {
        let Side::Client(config) = &self.side else {
            return Err(unusable(&self.folder, "they are a server's".into()));
        };
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|_| TlsError::Name(name.to_owned()))?;
        let connection =
            ClientConnection::new(Arc::clone(config), server).map_err(TlsError::Protocol)?;
        Ok(connection.into())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Who does the cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(folder: &Path) -> Result<RootCertStore, TlsError> {
    let path = folder.join("ca-cert.pem");
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::Contents {
            path: path.clone(),
            expected: "the certificate of a CA",
            found: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The certificate of a side, with those between it and the CA, and its key.
fn identity(
    folder: &Path,
    side: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&folder.join(format!("{side}-cert.pem")))?;
    let path = folder.join(format!("{side}-key.pem"));
    let key = PrivateKeyDer::from_pem_slice(&read(&path)?);
    let key = key.map_err(|error| contents(&path, "a private key", &error))?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let expected = "a certificate";
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| contents(path, expected, &error))?;
    match certificates.is_empty() {
        true => Err(contents(path, expected, &pem::Error::NoItemsFound)),
        false => Ok(certificates),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

fn contents(path: &Path, expected: &'static str, error: &pem::Error) -> TlsError {
    let found = match error {
        pem::Error::NoItemsFound => "none".to_owned(),
        error => error.to_string(),
    };
    TlsError::Contents {
        path: path.to_owned(),
        expected,
        found,
    }
}

fn unusable(folder: &Path, what: String) -> TlsError {
    TlsError::Unusable {
        folder: folder.to_owned(),
        what,
    }
}
