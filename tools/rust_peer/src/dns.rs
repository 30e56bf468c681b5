//! Publishing to and resolving from a DNS server, by what iroh itself uses for it.
//!
//!     iroh-rust-peer dns-publish ROOTS.pem URL SECRET_HEX RELAY USER_DATA
//!     iroh-rust-peer dns-resolve ROOTS.pem HOW WHERE ID ORIGIN
//!
//! HOW is pkarr (WHERE is the URL that ends in /pkarr), udp, tcp or https (an address). The first
//! prints `publishing` and publishes until its standard input ends, the second prints one line,
//! `found RELAY USER_DATA` or `failed WHY`.

use std::net::SocketAddr;

use iroh::{
    address_lookup::{
        AddressLookup, EndpointData, EndpointInfo, PkarrPublisher, PkarrResolver,
    },
    dns::{DnsResolver, NameserverConfig},
    tls::{default_provider, CaTlsConfig},
    EndpointId, SecretKey,
};
use n0_future::StreamExt;
use rustls_pki_types::{pem::PemObject, CertificateDer};
use tokio::io::AsyncReadExt;

/// A TLS client that believes these roots only: what `build` of a publisher takes.
macro_rules! tls {
    ($roots:expr) => {{
        let roots: Vec<_> = CertificateDer::pem_file_iter($roots)
            .expect("a file")
            .collect::<Result<_, _>>()
            .expect("PEM certificates");
        CaTlsConfig::custom_roots(roots).client_config(default_provider()).expect("a TLS client")
    }};
}

pub async fn publish(roots: &str, url: &str, secret: &str, relay: &str, user_data: &str) {
    let secret: SecretKey = secret.parse().expect("a secret key");
    let publisher =
        PkarrPublisher::builder(url.parse().expect("a URL")).build(secret, tls!(roots));
    let mut data = EndpointData::default();
    data.add_relay_url(relay.parse().expect("a relay URL"));
    data.set_user_data(Some(user_data.parse().expect("user data")));
    publisher.update_endpoint_data(&data);
    println!("publishing");
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}

pub async fn resolve(roots: &str, how: &str, place: &str, id: &str, origin: &str) {
    let id: EndpointId = id.parse().expect("an endpoint id");
    let found = match how {
        "pkarr" => {
            let resolver =
                PkarrResolver::builder(place.parse().expect("a URL")).build(tls!(roots));
            match resolver.resolve(id).expect("a stream").next().await {
                Some(Ok(item)) => Ok(item.endpoint_info().clone()),
                Some(Err(error)) => Err(format!("{error:#}")),
                None => Err("nothing".into()),
            }
        }
        _ => {
            let place: SocketAddr = place.parse().expect("an address");
            let nameserver = match how {
                "udp" => NameserverConfig::udp(place.ip()),
                "tcp" => NameserverConfig::tcp(place.ip()),
                "https" => NameserverConfig::https(place.ip()),
                other => panic!("unknown: {other}"),
            };
            let resolver = DnsResolver::builder()
                .add_nameserver_config(nameserver.with_port(place.port()))
                .tls_client_config(tls!(roots))
                .build();
            resolver.lookup_endpoint_by_id(&id, origin).await.map_err(|error| format!("{error:#}"))
        }
    };
    match found {
        Ok(info) => print(&info),
        Err(why) => println!("failed {why}"),
    }
}

fn print(info: &EndpointInfo) {
    let relay = info.relay_urls().next().map(|url| url.to_string()).unwrap_or("-".into());
    let user_data = info.user_data().map(|data| data.to_string()).unwrap_or("-".into());
    println!("found {relay} {user_data}");
}
