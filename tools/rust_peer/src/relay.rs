//! A Rust relay client, frame by frame; and a Rust endpoint that has nothing but a relay.
//!
//!     iroh-rust-peer relay-client ROOTS.pem URL SECRET_HEX [TOKEN]
//!         in:   send ID_HEX SEGMENT_SIZE ECN DATA_HEX | ping DATA_HEX
//!         out:  connected | failed TEXT | datagrams ID_HEX SEGMENT_SIZE ECN DATA_HEX | gone ID_HEX |
//!               status DEBUG | pong DATA_HEX | restarting MS MS | health TEXT | ended TEXT
//!     iroh-rust-peer relay-endpoint ROOTS.pem URL=QUIC_PORT [TOKEN]
//!         in:   dial ID_HEX SIZE | stream SIZE
//!         out:  id ID_HEX | online | dialled | echoed SIZE | failed TEXT
//!
//! Pings of the relay are answered. The endpoint echoes every stream of every connection; `dial`
//! keeps its connection for `stream`. Both end with their stdin.

use std::{num::NonZeroU16, sync::Arc};

use iroh::{
    dns::DnsResolver,
    endpoint::{presets, Connection},
    tls::CaTlsConfig,
    Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, RelayUrl, SecretKey, TransportAddr,
};
use iroh_relay::{
    client::{Client, ClientBuilder},
    protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg},
};
use n0_future::{SinkExt, StreamExt};
use rustls_pki_types::{pem::PemObject, CertificateDer};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

const ALPN: &[u8] = b"iroh-example/echo/0";
const LIMIT: usize = 64 << 20;

fn roots(path: &str) -> CaTlsConfig {
    let certificates = CertificateDer::pem_file_iter(path).expect("a file");
    CaTlsConfig::custom_roots(
        certificates
            .collect::<Result<Vec<_>, _>>()
            .expect("PEM certificates"),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn orders() -> Lines<BufReader<Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}

pub async fn client(ca: &str, url: &str, secret: &str, token: Option<&str>) {
    let secret: [u8; 32] = unhex(secret).try_into().expect("32 bytes");
    let url: RelayUrl = url.parse().expect("a relay URL");
    let provider = iroh_relay::tls::default_provider();
    let tls = roots(ca).client_config(provider).expect("TLS");
    let mut builder = ClientBuilder::new(url, SecretKey::from_bytes(&secret), DnsResolver::new())
        .tls_client_config(tls);
    if let Some(token) = token {
        builder = builder.auth_token(token);
    }
    match builder.connect().await {
        Ok(client) => {
            println!("connected");
            println!("ended {}", exchange(client).await);
        }
        Err(error) => println!("failed {}", format!("{error:#}").replace('\n', " ")),
    }
}

async fn exchange(mut client: Client) -> String {
    let mut orders = orders();
    loop {
        tokio::select! {
            line = orders.next_line() => {
                let Some(line) = line.expect("stdin") else { return "by us".to_owned() };
                if let Err(error) = client.send(order(&line)).await {
                    return error.to_string();
                }
            }
            message = client.next() => {
                let message = match message {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => return error.to_string(),
                    None => return "by the relay".to_owned(),
                };
                if let RelayToClientMsg::Ping(data) = message {
                    let _ = client.send(ClientToRelayMsg::Pong(data)).await;
                } else {
                    println!("{}", told(message));
                }
            }
        }
    }
}

fn order(line: &str) -> ClientToRelayMsg {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["ping", data] => ClientToRelayMsg::Ping(unhex(data).try_into().expect("8 bytes")),
        ["send", id, size, ecn, data] => ClientToRelayMsg::Datagrams {
            dst_endpoint_id: EndpointId::from_bytes(&unhex(id).try_into().expect("32 bytes"))
                .expect("a key"),
            datagrams: Datagrams {
                ecn: noq_proto::EcnCodepoint::from_bits(ecn.parse().expect("ECN")),
                segment_size: NonZeroU16::new(size.parse().expect("a size")),
                contents: unhex(data).into(),
            },
        },
        _ => panic!("see the top of relay.rs: {line}"),
    }
}

fn told(message: RelayToClientMsg) -> String {
    match message {
        RelayToClientMsg::Datagrams {
            remote_endpoint_id: id,
            datagrams,
        } => format!(
            "datagrams {} {} {} {}",
            hex(id.as_bytes()),
            datagrams.segment_size.map_or(0, u16::from),
            datagrams.ecn.map_or(0, |ecn| ecn as u8),
            hex(&datagrams.contents)
        ),
        RelayToClientMsg::EndpointGone(id) => format!("gone {}", hex(id.as_bytes())),
        RelayToClientMsg::Status(status) => format!("status {status:?}"),
        RelayToClientMsg::Restarting {
            reconnect_in,
            try_for,
        } => format!(
            "restarting {} {}",
            reconnect_in.as_millis(),
            try_for.as_millis()
        ),
        RelayToClientMsg::Pong(data) => format!("pong {}", hex(&data)),
        RelayToClientMsg::Health { problem } => format!("health {problem}"),
        other => format!("unexpected {other:?}"),
    }
}

pub async fn endpoint(ca: &str, relay: &str, token: Option<&str>) {
    let mut config = crate::relay_config(relay);
    if let Some(token) = token {
        config = config.with_auth_token(token);
    }
    let url = config.url.clone();
    let map = RelayMap::empty();
    map.insert(url.clone(), Arc::new(config));
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Custom(map))
        .ca_tls_config(roots(ca))
        .clear_ip_transports()
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .expect("bind");
    println!("id {}", hex(endpoint.id().as_bytes()));
    endpoint.online().await;
    println!("online");
    let accepting = tokio::spawn(accept(endpoint.clone()));
    let mut orders = orders();
    let mut connection = None;
    while let Some(line) = orders.next_line().await.expect("stdin") {
        let words: Vec<&str> = line.split(' ').collect();
        let result = match words[..] {
            ["dial", id] => {
                let id = EndpointId::from_bytes(&unhex(id).try_into().expect("32 bytes"));
                let addr = TransportAddr::Relay(url.clone());
                let peer = EndpointAddr::from_parts(id.expect("a key"), [addr]);
                match endpoint.connect(peer, ALPN).await {
                    Ok(made) => {
                        connection = Some(made);
                        Ok("dialled".to_owned())
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            ["stream", size] => {
                let connection = connection.as_ref().expect("a connection");
                stream(connection, size.parse().expect("a size")).await
            }
            _ => panic!("see the top of relay.rs: {line}"),
        };
        println!("{}", result.unwrap_or_else(|error| format!("failed {error}")));
    }
    accepting.abort();
    endpoint.close().await;
}

async fn stream(connection: &Connection, size: usize) -> Result<String, String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
    let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        send.write_all(&sent).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())
    });
    let back = recv.read_to_end(LIMIT).await.map_err(|e| e.to_string())?;
    sending.await.map_err(|e| e.to_string())??;
    if back == data {
        Ok(format!("echoed {size}"))
    } else {
        Err("not what was sent".to_owned())
    }
}

async fn accept(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(Some(count)) = recv.read(&mut buffer).await {
                        if send.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                    let _ = send.finish();
                });
            }
        });
    }
}
