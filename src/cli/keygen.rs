//! `keygen`: a key pair for private key JWT. The private key goes to a file that only its owner can
//! read, the public JWK to standard output, for the OAuth client in the tenant.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

#[derive(Args)]
pub(super) struct Options {
    /// Where the private key is written (PEM, mode 0600). An existing file is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The signature algorithm
    #[arg(long, value_enum, default_value_t = Algorithm::Es384)]
    algorithm: Algorithm,
    /// The key's id; made up when absent
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
    let kid = options
        .kid
        .clone()
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let (der, mut jwk, name) = match options.algorithm {
        Algorithm::Es384 => elliptic()?,
        Algorithm::Rs256 => rsa("RS256")?,
        Algorithm::Rs512 => rsa("RS512")?,
    };
    jwk["kid"] = kid.clone().into();
    jwk["use"] = "sig".into();
    jwk["alg"] = name.into();
    write_private(&options.out, &pem(&der))?;
    println!("{}", serde_json::to_string_pretty(&jwk)?);
    let path = options.out.display();
    eprintln!(
        "\nThe private key is in {path}. Register the JWK above on the OAuth client, then configure:\n"
    );
    eprintln!(
        "private_key = {{ kid = \"{kid}\", algorithm = \"{name}\", pem = {{ file = \"{path}\" }} }}"
    );
    Ok(())
}

type Generated = (Zeroizing<Vec<u8>>, Value, &'static str);

fn elliptic() -> anyhow::Result<Generated> {
    let failed = |_| anyhow!("no key could be generated");
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?;
    let der = key.to_pkcs8v1().map_err(failed)?;
    let point = key.public_key().as_ref();
    let (x, y) = point
        .get(1..)
        .and_then(|point| point.split_at_checked(48))
        .context("no key could be generated")?;
    let jwk = json!({"kty": "EC", "crv": "P-384", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    Ok((Zeroizing::new(der.as_ref().to_vec()), jwk, "ES384"))
}

/// 4096 bits, as the tenant's documentation advises.
fn rsa(name: &'static str) -> anyhow::Result<Generated> {
    let key =
        RsaKeyPair::generate(KeySize::Rsa4096).map_err(|_| anyhow!("no key could be generated"))?;
    let der: Pkcs8V1Der<'static> = key
        .as_der()
        .map_err(|_| anyhow!("no key could be generated"))?;
    let public = key.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (public.modulus(), public.exponent());
    let jwk = json!({"kty": "RSA", "n": number(n.big_endian_without_leading_zero()), "e": number(e.big_endian_without_leading_zero())});
    Ok((Zeroizing::new(der.as_ref().to_vec()), jwk, name))
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

fn write_private(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
