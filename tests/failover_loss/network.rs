//! What lies between a master and its replica, and may lose what the master sends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;

use crate::support::{replicate, Server};

/// A network on the way from one replica to its master. What the replica says always arrives.
pub struct Network {
    port: u16,
    /// How many bytes from the master still arrive. All behind them is lost.
    left: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Network {
    /// A replica of the master, in step with it, behind a network that loses nothing yet.
    pub fn replica_of(master: &Server) -> (Self, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Self {
            port,
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            is_over: Arc::new(AtomicBool::new(false)),
        };
        let (there, left, is_over) = (master.port(), Arc::clone(&network.left), Arc::clone(&network.is_over));
        thread::spawn(move || {
            // Some servers get the data set through a connection of its own.
            for replica in listener.incoming() {
                if is_over.load(SeqCst) {
                    return;
                }
                // Who connects when the master is gone finds nobody.
                let (Ok(replica), Ok(master)) = (replica, TcpStream::connect(("127.0.0.1", there))) else {
                    continue;
                };
                connect(replica, master, Arc::clone(&left));
            }
        });
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port.to_string()]);
        replicate(&mut master.client(), &mut replica.client());
        (network, replica)
    }

    /// Loses all that the master sends from now on, but for so many bytes.
    pub fn lose_all_but(&self, bytes: usize) {
        self.left.store(bytes, SeqCst);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.is_over.store(true, SeqCst);
        // Nobody would look at the flag otherwise.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Carries bytes both ways until the replica or the master closes.
fn connect(replica: TcpStream, master: TcpStream, left: Arc<AtomicUsize>) {
    let (from_replica, to_master) = (replica.try_clone().unwrap(), master.try_clone().unwrap());
    thread::spawn(move || carry(from_replica, to_master, &AtomicUsize::new(usize::MAX)));
    thread::spawn(move || carry(master, replica, &left));
}

/// Carries bytes from one end to the other until one of them closes. Those that are lost seem to have been taken.
fn carry(mut from: TcpStream, mut to: TcpStream, left: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let before = left.load(SeqCst);
        let arriving = read.min(before);
        if before != usize::MAX {
            left.store(before - arriving, SeqCst);
        }
        if to.write_all(&buffer[..arriving]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
