//! Verifies chains with rustls-webpki.
//! README.md of the folder above says what it reads and prints.

use std::error::Error;
use std::io::BufRead;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn der(value: &Value) -> Result<CertificateDer<'static>, Box<dyn Error>> {
    let text = value.as_str().ok_or("not a string")?;
    Ok(STANDARD.decode(text)?.into())
}

fn verify(asked: &Value) -> Result<(), Box<dyn Error>> {
    let root = der(&asked["root"])?;
    let anchors = [anchor_from_trusted_cert(&root)?];
    let chain = asked["chain"]
        .as_array()
        .ok_or("no chain")?
        .iter()
        .map(der)
        .collect::<Result<Vec<_>, _>>()?;
    let (leaf, intermediates) = chain.split_first().ok_or("an empty chain")?;
    let usage = match asked["purpose"].as_str() {
        Some("client") => KeyUsage::client_auth(),
        _ => KeyUsage::server_auth(),
    };
    let leaf = EndEntityCert::try_from(leaf)?;
    if let Some(name) = asked["dnsName"].as_str() {
        leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name)?)?;
    }
    leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        intermediates,
        UnixTime::now(),
        usage,
        None,
        None,
    )?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let (accepted, why) = match verify(&asked) {
            Ok(()) => (true, String::new()),
            Err(error) => (false, error.to_string()),
        };
        println!("{}", json!({ "name": asked["name"], "accepted": accepted, "why": why }));
    }
    Ok(())
}
