//! A custom transport of Rust's: Unix datagram sockets. An address is the path of a socket.
//!
//!     iroh-rust-peer unix-serve PATH                       echo one stream of one connection
//!     iroh-rust-peer unix-dial PATH PEER_ID PEER_PATH      send a stream, compare its echo
//!
//! No IP and no relay. Prints `key value` lines: its id, who came from where, bytes, paths, the end.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use iroh::{
    endpoint::{
        presets,
        transports::{CustomEndpoint, CustomSender, CustomTransport, RecvInfo, Transmit},
        Connection,
    },
    Endpoint, EndpointAddr, TransportAddr,
};
use iroh_base::CustomAddr;
use tokio::net::UnixDatagram;

const UNIX: u64 = 0x554E4958;
const ALPN: &[u8] = b"iroh-example/echo/0";
const SIZE: usize = 3_000_000;

#[derive(Debug)]
struct Unix {
    path: String,
}

#[derive(Debug)]
struct Bound {
    socket: Arc<UnixDatagram>,
    own: CustomAddr,
    addrs: n0_watcher::Watchable<Vec<CustomAddr>>,
}

#[derive(Debug)]
struct Sender {
    socket: Arc<UnixDatagram>,
}

fn addr(path: &str) -> CustomAddr {
    CustomAddr::from_parts(UNIX, path.as_bytes())
}

impl CustomTransport for Unix {
    fn bind(&self) -> io::Result<Box<dyn CustomEndpoint>> {
        let own = addr(&self.path);
        Ok(Box::new(Bound {
            socket: Arc::new(UnixDatagram::bind(&self.path)?),
            addrs: n0_watcher::Watchable::new(vec![own.clone()]),
            own,
        }))
    }
}

impl CustomEndpoint for Bound {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.addrs.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(Sender {
            socket: self.socket.clone(),
        })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [noq_udp::RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        let mut buf = tokio::io::ReadBuf::new(&mut bufs[0]);
        self.socket.poll_recv_from(cx, &mut buf).map_ok(|from| {
            let size = buf.filled().len();
            let path = from.as_pathname().expect("a bound sender");
            infos[0] = RecvInfo::new(addr(&path.to_string_lossy()), Some(self.own.clone()));
            metas[0].len = size;
            metas[0].stride = size;
            1
        })
    }
}

impl CustomSender for Sender {
    fn is_valid_send_addr(&self, addr: &CustomAddr) -> bool {
        addr.id() == UNIX
    }

    fn poll_send(
        &self,
        _cx: &mut Context,
        dst: &CustomAddr,
        _src: Option<&CustomAddr>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        let path = std::str::from_utf8(dst.data()).map_err(io::Error::other)?;
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        for datagram in transmit.contents.chunks(size.max(1)) {
            let _ = self.socket.try_send_to(datagram, path); // full, or gone: lost
        }
        Poll::Ready(Ok(()))
    }
}

async fn bind(path: &str) -> Endpoint {
    let transport = Unix {
        path: path.to_owned(),
    };
    Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .add_custom_transport(Arc::new(transport))
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .expect("bind")
}

fn print_paths(connection: &Connection) {
    for path in connection.paths().iter() {
        println!("path {:?}", path.remote_addr());
        println!("local {:?}", path.local_addr());
    }
}

pub async fn serve(path: &str) {
    let endpoint = bind(path).await;
    println!("id {}", endpoint.id());
    println!("addrs {}", endpoint.addr().addrs.len());
    let incoming = endpoint.accept().await.expect("an attempt");
    println!("from {:?}", incoming.remote_addr());
    let connection = incoming.await.expect("a connection");
    println!("peer {}", connection.remote_id());
    let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
    let data = recv.read_to_end(SIZE).await.expect("its end");
    println!("bytes {}", data.len());
    send.write_all(&data).await.expect("write");
    send.finish().expect("finish");
    print_paths(&connection);
    println!("closed {}", connection.closed().await);
    endpoint.close().await;
}

pub async fn dial(path: &str, id: &str, peer_path: &str) {
    let endpoint = bind(path).await;
    let id = id.parse().expect("an id");
    let peer = EndpointAddr::from_parts(id, [TransportAddr::Custom(addr(peer_path))]);
    let connection = endpoint.connect(peer, ALPN).await.expect("connect");
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    send.write_all(&data).await.expect("write");
    send.finish().expect("finish");
    let back = recv.read_to_end(SIZE).await.expect("its end");
    println!("equal {}", back == data);
    print_paths(&connection);
    connection.close(7u32.into(), b"bye");
    endpoint.close().await;
}
