//! Certificates of a CA that lives as long as a test, in folders as QEMU's `tls-creds-x509` wants them.

use std::fs;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Who the server's certificates are for.
pub(crate) const SERVER: &str = "localhost";

/// Signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    /// A new one, which nobody believes yet.
    pub(crate) fn new() -> Self {
        let mut params = params("vmferry's tests", 2999);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A folder with the certificates and keys of a server and of a client.
    pub(crate) fn folder(&self) -> TempDir {
        self.folder_until(2999)
    }

    /// The same, but the certificates expired long ago.
    pub(crate) fn expired(&self) -> TempDir {
        self.folder_until(2001)
    }

    fn folder_until(&self, year: i32) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("a file is written");
        };
        write("ca-cert.pem", self.certificate.pem());
        for (side, purpose) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = params(SERVER, year);
            params.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
            ];
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &self.issuer);
            write(
                &format!("{side}-cert.pem"),
                certificate.expect("a certificate").pem(),
            );
            write(&format!("{side}-key.pem"), key.serialize_pem());
        }
        folder
    }
}

fn params(name: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::new([SERVER.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}
