//! A workload on the Rust libraries spiffe and spiffe-rustls.
//! README.md of the folder above says what it prints and reads.

use std::error::Error;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spiffe::{WorkloadApiClient, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

type Failure = Box<dyn Error + Send + Sync>;

fn say(event: &str, mut fields: Value) {
    fields["event"] = event.into();
    println!("{fields}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(source: &X509Source) -> Result<(), Failure> {
    let svid = source.svid()?;
    let (_, leaf) = X509Certificate::from_der(svid.leaf().as_bytes())?;
    let serial = leaf.tbs_certificate.serial.to_str_radix(16);
    let bundle = source
        .try_bundle_for_trust_domain(svid.spiffe_id().trust_domain())
        .ok_or("no bundle of our trust domain")?;
    let mut roots: Vec<String> = bundle
        .authorities()
        .iter()
        .map(|root| hex(&Sha256::digest(root.as_bytes())))
        .collect();
    roots.sort();
    let id = svid.spiffe_id().to_string();
    say("identity", json!({ "spiffeId": id, "serial": serial, "roots": roots }));
    Ok(())
}

async fn serve(source: X509Source) -> Result<u16, Failure> {
    let config = mtls_server(source).authorize(authorizer::any()).build()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Err(error) = answer(acceptor, connection).await {
                    eprintln!("server: {error}");
                }
            });
        }
    });
    Ok(port)
}

async fn answer(acceptor: TlsAcceptor, connection: TcpStream) -> Result<(), Failure> {
    let mut tls = BufReader::new(acceptor.accept(connection).await?);
    tls.read_line(&mut String::new()).await?;
    tls.write_all(b"hello\n").await?;
    tls.shutdown().await?;
    Ok(())
}

async fn dial(config: Arc<ClientConfig>, port: &str) -> Result<String, Failure> {
    let connection = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
    // the peer is known by its SPIFFE ID; rustls wants a name all the same
    let name = ServerName::try_from("workload.invalid")?;
    let tls = TlsConnector::from(config).connect(name, connection).await?;
    let mut tls = BufReader::new(tls);
    tls.write_all(b"hello\n").await?;
    tls.flush().await?;
    let mut line = String::new();
    if tls.read_line(&mut line).await? == 0 {
        return Err("the peer closed without an answer".into());
    }
    let certificates = tls.get_ref().get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = certificates.first().ok_or("the peer has no certificate")?;
    Ok(spiffe::cert::spiffe_id_from_der(leaf)?.to_string())
}

async fn jwt(client: &WorkloadApiClient, audience: &str) -> Result<String, Failure> {
    let token = client.fetch_jwt_token([audience], None).await?;
    Ok(client.validate_jwt_token(audience, &token).await?.spiffe_id().to_string())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let source = X509Source::new().await?;
    let client = WorkloadApiClient::connect_env().await?;
    report(&source)?;
    let mut updates = source.updated();
    let watched = source.clone();
    tokio::spawn(async move {
        while updates.changed().await.is_ok() {
            if let Err(error) = report(&watched) {
                eprintln!("update: {error}");
            }
        }
    });
    say("ready", json!({ "port": serve(source.clone()).await? }));
    let config = mtls_client(source.clone()).authorize(authorizer::any()).build()?;
    let config = Arc::new(config);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("dial", port)) => match dial(config.clone(), port).await {
                Ok(peer) => say("dialed", json!({ "port": port, "peer": peer })),
                Err(error) => say("dialed", json!({ "port": port, "error": format!("{error:?}") })),
            },
            Some(("jwt", audience)) => match jwt(&client, audience).await {
                Ok(subject) => say("jwt", json!({ "subject": subject })),
                Err(error) => say("jwt", json!({ "error": format!("{error:?}") })),
            },
            _ => {}
        }
    }
    Ok(())
}
