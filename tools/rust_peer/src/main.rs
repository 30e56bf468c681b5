//! A Rust endpoint that believes an own authority, and says what it learns from relays; a Rust relay
//! client (relay.rs); an endpoint over a custom transport (unix.rs); what publishes to and resolves
//! from a DNS server (dns.rs); data before the handshake (early.rs); or how often ACKs come
//! (frequency.rs).
//!
//!     iroh-rust-peer net-report ROOTS.pem URL=QUIC_PORT [URL=QUIC_PORT ...]
//!
//! QUIC_PORT `-` is a relay without address discovery. Prints `key value` lines: how long the
//! first net report took, its fields, and the endpoint's own address; exits 0 with a report, 1
//! without one within 15 seconds. With STAY=SECONDS in the environment it stays that long and says
//! `again_v4 ADDRESS` for every further report.

use std::time::{Duration, Instant};

use iroh::{
    endpoint::presets, tls::CaTlsConfig, Endpoint, RelayConfig, RelayMap, RelayMode, RelayUrl,
    Watcher,
};
use rustls_pki_types::{pem::PemObject, CertificateDer};

mod dns;
mod early;
mod frequency;
mod relay;
mod unix;

fn relay_config(text: &str) -> RelayConfig {
    let (url, port) = text.rsplit_once('=').expect("URL=QUIC_PORT");
    let url: RelayUrl = url.parse().expect("a relay URL");
    let mut config = RelayConfig::new(url.clone(), None);
    if port != "-" {
        config = RelayConfig::from(url);
        if let Some(quic) = config.quic.as_mut() {
            quic.port = port.parse().expect("a port");
        }
    }
    config
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["net-report", ..] => net_report(args.into_iter().skip(1)).await,
        ["relay-client", ca, url, secret, ref token @ ..] => {
            relay::client(ca, url, secret, token.first().copied()).await
        }
        ["relay-endpoint", ca, url, ref token @ ..] => {
            relay::endpoint(ca, url, token.first().copied()).await
        }
        ["unix-serve", path] => unix::serve(path).await,
        ["unix-dial", path, id, peer] => unix::dial(path, id, peer).await,
        ["early-serve", secret, addr] => early::serve(secret, addr).await,
        ["early-dial", id, addr] => early::dial(id, addr).await,
        ["frequency-serve"] => frequency::serve().await,
        ["frequency-dial", id, addr, size] => frequency::dial(id, addr, size).await,
        ["dns-publish", ca, url, secret, relay, user_data] => {
            dns::publish(ca, url, secret, relay, user_data).await
        }
        ["dns-resolve", ca, how, place, id, origin] => {
            dns::resolve(ca, how, place, id, origin).await
        }
        _ => panic!("see the tops of main.rs and its modules"),
    }
}

async fn net_report(mut args: impl Iterator<Item = String>) {
    let roots: Vec<_> = CertificateDer::pem_file_iter(args.next().expect("ROOTS.pem"))
        .expect("a file")
        .collect::<Result<_, _>>()
        .expect("PEM certificates");
    let map = RelayMap::empty();
    for text in args {
        let config = relay_config(&text);
        map.insert(config.url.clone(), config.into());
    }
    let start = Instant::now();
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Custom(map))
        .ca_tls_config(CaTlsConfig::custom_roots(roots))
        .bind()
        .await
        .expect("bind");
    println!("bound_ms {}", start.elapsed().as_millis());
    for addr in endpoint.bound_sockets() {
        println!("bound {addr}");
    }
    let mut reports = endpoint.net_report();
    let first = tokio::time::timeout(Duration::from_secs(15), reports.initialized()).await;
    let Ok(report) = first else {
        println!("no report");
        std::process::exit(1);
    };
    println!("report_ms {}", start.elapsed().as_millis());
    println!("udp_v4 {}", report.udp_v4);
    println!("udp_v6 {}", report.udp_v6);
    println!("global_v4 {:?}", report.global_v4);
    println!("global_v6 {:?}", report.global_v6);
    println!(
        "mapping_varies_by_dest_ipv4 {:?}",
        report.mapping_varies_by_dest_ipv4
    );
    println!(
        "mapping_varies_by_dest_ipv6 {:?}",
        report.mapping_varies_by_dest_ipv6
    );
    println!("captive_portal {:?}", report.captive_portal);
    println!("preferred_relay {:?}", report.preferred_relay);
    for (probe, url, latency) in report.relay_latency.iter() {
        println!("latency {probe} {url} {} us", latency.as_micros());
    }
    // A home relay is chosen, and the learnt addresses are announced, a moment later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("addr {:?}", endpoint.addr());
    if let Ok(stay) = std::env::var("STAY") {
        let stay = Duration::from_secs(stay.parse().expect("STAY in seconds"));
        let _ = tokio::time::timeout(stay, async {
            while let Ok(report) = reports.updated().await {
                println!("again_v4 {:?}", report.and_then(|report| report.global_v4));
            }
        })
        .await;
    }
    endpoint.close().await;
}
