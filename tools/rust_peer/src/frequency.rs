//! How often a peer acknowledges, and what it is asked for (ACK_FREQUENCY).
//!
//!     iroh-rust-peer frequency-serve                read one stream of each connection
//!     iroh-rust-peer frequency-dial ID ADDR SIZE    a dial for each line of stdin, which is a number:
//!                                                   ask for an ACK when so many packets wait
//!
//! Each dial sends SIZE bytes, and ends when the listener has them. Prints `key value` lines: `id`,
//! `bound`; of the listener `asked` with the requests it got; of the dialler `acks` with the ACK
//! frames it got. Both end with their stdin.

use iroh::{
    endpoint::{
        presets, AckFrequencyConfig, ConnectOptions, Connection, QuicTransportConfig, VarInt,
    },
    Endpoint, EndpointAddr, TransportAddr,
};
use tokio::io::{AsyncBufReadExt, BufReader};

const ALPN: &[u8] = b"iroh-example/frequency/0";

async fn bind() -> Endpoint {
    let endpoint = Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("IP:PORT")
        .bind()
        .await
        .expect("bind");
    println!("id {}", endpoint.id());
    for addr in endpoint.bound_sockets() {
        println!("bound {addr}");
    }
    endpoint
}

pub async fn serve() {
    let endpoint = bind().await;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            _ = lines.next_line() => break,
        };
        let connection = incoming.await.expect("a connection");
        let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
        while let Some(_chunk) = recv.read_chunk(usize::MAX).await.expect("data") {}
        println!("asked {}", connection.stats().frame_rx.ack_frequency);
        send.finish().expect("the end");
        connection.closed().await;
    }
    endpoint.close().await;
}

pub async fn dial(id: &str, addr: &str, size: &str) {
    let endpoint = bind().await;
    let peer = EndpointAddr::from_parts(
        id.parse().expect("an endpoint id"),
        [TransportAddr::Ip(addr.parse().expect("IP:PORT"))],
    );
    let data = vec![7u8; size.parse().expect("a number of bytes")];
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(threshold)) = lines.next_line().await {
        let mut asks = AckFrequencyConfig::default();
        asks.ack_eliciting_threshold(VarInt::from_u32(threshold.parse().expect("a number")));
        let transport = QuicTransportConfig::builder()
            .ack_frequency_config(Some(asks))
            .build();
        let options = ConnectOptions::new().with_transport_config(transport);
        let connecting = endpoint
            .connect_with_opts(peer.clone(), ALPN, options)
            .await;
        let connection = connecting.expect("a dial").await.expect("the handshake");
        send(&connection, &data).await;
        let got = connection.stats().frame_rx;
        println!("acks {}", got.acks + got.path_acks);
        connection.close(0u8.into(), b"");
    }
    endpoint.close().await;
}

async fn send(connection: &Connection, data: &[u8]) {
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    send.write_all(data).await.expect("data");
    send.finish().expect("the end");
    recv.read_to_end(0).await.expect("the end of the answer");
}
