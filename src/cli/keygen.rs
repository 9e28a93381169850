//! `keygen`: a key pair for private key JWT. The private key goes to a file that only its owner can
//! read, the public JWK to standard output, for the OAuth client in the tenant.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::qlik::AssertionAlgorithm;
use crate::qlik::key_pair::KeyPair;
use crate::secret::NewFile;

#[derive(Args)]
pub(super) struct Options {
    /// Where the private key is written (PEM, mode 0600). An existing file is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The signature algorithm
    #[arg(long, value_enum, default_value_t = Algorithm::Es384)]
    algorithm: Algorithm,
    /// The key's id; its thumbprint (RFC 7638) when absent
    #[arg(long)]
    kid: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    #[value(name = "ES384")]
    Es384,
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "RS512")]
    Rs512,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let algorithm = match options.algorithm {
        Algorithm::Es384 => AssertionAlgorithm::Es384,
        Algorithm::Rs256 => AssertionAlgorithm::Rs256,
        Algorithm::Rs512 => AssertionAlgorithm::Rs512,
    };
    let path = options.out.display();
    let file = NewFile::at(&options.out).with_context(|| format!("cannot create {path}"))?;
    let mut pair = KeyPair::generate(algorithm)?;
    if let Some(kid) = &options.kid {
        pair.jwk["kid"] = kid.clone().into();
    }
    file.fill(&pair.pem)
        .with_context(|| format!("cannot write {path}"))?;
    println!("{}", serde_json::to_string_pretty(&pair.jwk)?);
    eprintln!(
        "\nThe private key is in {path}. Register the JWK above on the OAuth client, then configure:\n"
    );
    let kid = options.kid.as_ref();
    let kid = kid.map_or_else(String::new, |kid| format!("kid = \"{kid}\", "));
    let algorithm = algorithm.as_str();
    eprintln!(
        "private_key = {{ {kid}algorithm = \"{algorithm}\", pem = {{ file = \"{path}\" }} }}"
    );
    Ok(())
}
