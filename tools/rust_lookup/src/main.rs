//! Rust iroh's mDNS and DHT lookup services as a program.
//!
//!     mdns SEED ADVERTISE USER_DATA [TRANSPORT_ADDR ...]   prints discovered and expired lines
//!          "resolve ID" on standard input                  prints a resolved line or nothing
//!     node [BOOTSTRAP ...]                                 a DHT node in server mode
//!     publish SEED RELAY USER_DATA BOOTSTRAP ...           publishes by DhtAddressLookup
//!     resolve ID BOOTSTRAP ...                             resolves by it, once, and ends
//!
//! SEED is a secret key in hex, TRANSPORT_ADDR is ip:port or a URL, "-" is nothing. A line about an
//! endpoint is: word, id, addresses separated by commas, user data. Ends with standard input.
use std::{error::Error, str::FromStr};

use iroh::{
    address_lookup::{AddrFilter, AddressLookup, EndpointData, EndpointInfo},
    EndpointId, SecretKey, TransportAddr,
};
use iroh_mainline_address_lookup::DhtAddressLookup;
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use n0_future::StreamExt;
use n0_mainline::{Dht, DhtBuilder};
use tokio::io::{AsyncBufReadExt, BufReader};

type Anything<T> = Result<T, Box<dyn Error>>;

fn print(word: &str, info: &EndpointInfo) {
    let addrs: Vec<String> = info
        .ip_addrs()
        .map(|addr| addr.to_string())
        .chain(info.relay_urls().map(|url| url.to_string()))
        .collect();
    let user_data = info.user_data().map(|data| data.to_string()).unwrap_or("-".into());
    println!("{word} {} {} {user_data}", info.endpoint_id, addrs.join(","));
}

fn data(user_data: &str, addrs: &[String]) -> Anything<EndpointData> {
    let mut data = EndpointData::default();
    for addr in addrs {
        match addr.parse() {
            Ok(addr) => data.add_addrs([TransportAddr::Ip(addr)]),
            Err(_) => data.add_relay_url(addr.parse()?),
        }
    }
    if user_data != "-" {
        data.set_user_data(Some(user_data.parse()?));
    }
    Ok(data)
}

fn key(seed: &str) -> Anything<SecretKey> {
    Ok(SecretKey::from_str(seed)?)
}

async fn mdns(args: &[String]) -> Anything<()> {
    let advertise = args[1] == "1";
    let lookup =
        MdnsAddressLookup::builder().advertise(advertise).build(key(&args[0])?.public())?;
    let mut events = lookup.subscribe().await;
    lookup.publish(&data(&args[2], &args[3..])?);
    println!("running");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(DiscoveryEvent::Discovered { endpoint_info, .. }) =>
                    print("discovered", &endpoint_info),
                Some(DiscoveryEvent::Expired { endpoint_id }) => println!("expired {endpoint_id}"),
                Some(_) => {}
                None => return Ok(()),
            },
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let words: Vec<&str> = line.split_whitespace().collect();
                if words[0] == "publish" {
                    let rest: Vec<String> = words[2..].iter().map(|w| w.to_string()).collect();
                    lookup.publish(&data(words[1], &rest)?);
                    continue;
                }
                let mut items = lookup.resolve(words[1].parse()?).unwrap();
                tokio::spawn(async move {
                    match items.next().await {
                        Some(Ok(item)) => print("resolved", item.endpoint_info()),
                        Some(Err(error)) => println!("failed {error}"),
                        None => println!("nothing"),
                    }
                });
            }
        }
    }
}

fn builder(bootstrap: &[String]) -> DhtBuilder {
    let mut builder = Dht::builder();
    builder.bootstrap(bootstrap);
    builder
}

async fn until_stdin_ends() -> Anything<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {}
    Ok(())
}

async fn node(args: &[String]) -> Anything<()> {
    let node = builder(args).server_mode().build()?;
    println!("listening {}", node.info().await?.local_addr().port());
    until_stdin_ends().await
}

async fn publish(args: &[String]) -> Anything<()> {
    let lookup = DhtAddressLookup::builder()
        .secret_key(key(&args[0])?)
        .dht_builder(builder(&args[3..]))
        .addr_filter(AddrFilter::unfiltered())
        .build()?;
    lookup.publish(&data(&args[2], &args[1..2])?);
    println!("publishing");
    until_stdin_ends().await
}

async fn resolve(args: &[String]) -> Anything<()> {
    let id: EndpointId = args[0].parse()?;
    let lookup = DhtAddressLookup::builder().dht_builder(builder(&args[1..])).build()?;
    match lookup.resolve(id).unwrap().next().await {
        Some(Ok(item)) => print("resolved", item.endpoint_info()),
        Some(Err(error)) => println!("failed {error}"),
        None => println!("nothing"),
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Anything<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "mdns" => mdns(&args[1..]).await,
        "node" => node(&args[1..]).await,
        "publish" => publish(&args[1..]).await,
        "resolve" => resolve(&args[1..]).await,
        other => Err(format!("unknown: {other}").into()),
    }
}
