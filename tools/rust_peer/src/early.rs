//! Data before the handshake (0-RTT), of either side; what the bindings have no methods for.
//!
//!     iroh-rust-peer early-serve SECRET ADDR   echo one stream of each connection (`into_0rtt`)
//!     iroh-rust-peer early-dial ID ADDR        a dial for each line of stdin, which it sends
//!
//! SECRET: 64 hex digits; a server that is started anew with them knows no ticket of before.
//! Prints `key value` lines: `id`; `got EARLY TEXT` of a stream and whether it came before
//! the handshake was complete; `dialled HOW TEXT`, HOW one of `plain`, `accepted`, `rejected`, and the
//! answer. A rejected line is sent once more, on a new stream. Both end with their stdin.

use iroh::{
    endpoint::{presets, Connection, ZeroRttStatus},
    Endpoint, EndpointAddr, SecretKey, TransportAddr,
};
use tokio::io::{AsyncBufReadExt, BufReader};

const ALPN: &[u8] = b"iroh-example/early/0";

pub async fn serve(secret: &str, addr: &str) {
    let key: SecretKey = secret.parse().expect("SECRET of 64 hex digits");
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr(addr)
        .expect("IP:PORT")
        .bind()
        .await
        .expect("bind");
    println!("id {}", endpoint.id());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            _ = lines.next_line() => break,
        };
        tokio::spawn(async move {
            let early = incoming.accept().expect("an attempt").into_0rtt();
            let Ok((mut send, mut recv)) = early.accept_bi().await else {
                return; // a replay: nobody is there
            };
            let is_early = recv.is_0rtt();
            let data = recv.read_to_end(1000).await.expect("a short stream");
            println!("got {is_early} {}", String::from_utf8_lossy(&data));
            send.write_all(&data).await.expect("the echo");
            send.finish().expect("the end");
            let connection = early.handshake_completed().await.expect("the handshake");
            println!("peer {}", connection.remote_id());
            connection.closed().await;
        });
    }
    endpoint.close().await;
}

pub async fn dial(id: &str, addr: &str) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("IP:PORT")
        .bind()
        .await
        .expect("bind");
    println!("id {}", endpoint.id());
    let peer = EndpointAddr::from_parts(
        id.parse().expect("an endpoint id"),
        [TransportAddr::Ip(addr.parse().expect("IP:PORT"))],
    );
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        let (how, answer, connection) = once(&endpoint, peer.clone(), &text).await;
        println!("dialled {how} {answer}");
        connection.close(0u8.into(), b"");
    }
    endpoint.close().await;
}

async fn once(
    endpoint: &Endpoint,
    peer: EndpointAddr,
    text: &str,
) -> (&'static str, String, Connection) {
    let connecting = endpoint
        .connect_with_opts(peer, ALPN, Default::default())
        .await
        .expect("a dial");
    let early = match connecting.into_0rtt() {
        Ok(early) => early,
        Err(connecting) => {
            let connection = connecting.await.expect("the handshake");
            let answer = ask(&connection, text).await;
            return ("plain", answer, connection);
        }
    };
    let (mut send, mut recv) = early.open_bi().await.expect("an early stream");
    send.write_all(text.as_bytes()).await.expect("early data");
    send.finish().expect("the end");
    match early.handshake_completed().await.expect("the handshake") {
        ZeroRttStatus::Accepted(connection) => {
            let answer = recv.read_to_end(1000).await.expect("the answer");
            (
                "accepted",
                String::from_utf8_lossy(&answer).into(),
                connection,
            )
        }
        ZeroRttStatus::Rejected(connection) => {
            let answer = ask(&connection, text).await;
            ("rejected", answer, connection)
        }
    }
}

async fn ask(connection: &Connection, text: &str) -> String {
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    send.write_all(text.as_bytes()).await.expect("data");
    send.finish().expect("the end");
    let answer = recv.read_to_end(1000).await.expect("the answer");
    String::from_utf8_lossy(&answer).into()
}
