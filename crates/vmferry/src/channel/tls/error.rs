//! What can go wrong with TLS, and what to do about it.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of the credentials cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the credentials does not hold what it should.
    #[error("{}: expected {expected} in PEM form, found {found}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("the certificates in {} cannot be used: {what}", folder.display())]
    Unusable {
        /// The folder with the credentials.
        folder: PathBuf,
        /// Why.
        what: String,
    },
    /// The name of the server is neither a host name nor an address.
    #[error("'{0}' is neither a host name nor an address")]
    Name(String),
    /// The two sides do not agree, when they meet or later: with TLS 1.3 a client hears only after
    /// the handshake that its certificate was refused.
    #[error("TLS failed: {}", advice(.0))]
    Protocol(rustls::Error),
    /// The socket failed, or the peer went away.
    #[error("the TLS connection failed")]
    Channel(#[source] io::Error),
}

impl TlsError {
    /// What an error of the session means during the handshake.
    pub(super) fn of_handshake(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Channel)
    }

    pub(super) fn ended_in_handshake() -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer ended the connection during the TLS handshake; it may have found our certificate, \
             or the lack of one, wrong: its own log says",
        )
    }

    /// QEMU looks at a certificate only after the handshake, and goes without a word.
    pub(super) fn ended_at_once() -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer ended the connection as soon as the TLS handshake was done; it may have found our \
             certificate wrong: its own log says",
        )
    }

    pub(super) fn ended_unannounced() -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended without a TLS close_notify, in the middle of the stream: it may have \
             been cut off",
        )
    }
}

/// What `error` means, and what to do.
fn advice(error: &rustls::Error) -> String {
    let what = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the peer's certificate has expired: it needs a new one"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the peer's certificate is not valid yet: compare the clocks"
            }
            // The signature is bad if the peer's CA is another of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the peer's certificate was not signed by our CA (ca-cert.pem): both sides need the same"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name: give the name that it is for (tls-hostname)"
            }
            _ => "the peer's certificate cannot be accepted",
        },
        rustls::Error::NoCertificatesPresented => {
            "the client has shown no certificate: its credentials need client-cert.pem and client-key.pem"
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the peer does not know the CA that has signed our certificate: both sides need the same \
                 ca-cert.pem"
            }
            AlertDescription::CertificateExpired => {
                "the peer says that our certificate has expired"
            }
            AlertDescription::CertificateRequired => "the peer requires a certificate of ours",
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => "the peer does not accept our certificate",
            _ => "the peer has refused",
        },
        _ => return error.to_string(),
    };
    format!("{what} ({error})")
}
