//! What lies between servers, and may lose or keep back what they send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::{replicate, Server};

/// The way to a server, for all that take it.
pub struct Network {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    to: u16,
    /// How many bytes from the server still arrive. All behind them is lost.
    left: AtomicUsize,
    is_cut: Mutex<bool>,
    healed: Condvar,
    is_over: AtomicBool,
}

impl Network {
    /// A way that loses nothing yet to the server at this port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            to: port,
            left: AtomicUsize::new(usize::MAX),
            is_cut: Mutex::new(false),
            healed: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        let network = Self { port: own_port, way: Arc::clone(&way) };
        thread::spawn(move || {
            // Some servers get the data set through a connection of its own.
            for caller in listener.incoming() {
                if way.is_over.load(SeqCst) {
                    return;
                }
                let Ok(caller) = caller else { continue };
                let way = Arc::clone(&way);
                thread::spawn(move || way.connect(caller));
            }
        });
        network
    }

    /// A replica of the master, in step with it, behind a network that loses nothing yet.
    pub fn replica_of(master: &Server) -> (Self, Server) {
        let network = Self::to(master.port());
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &network.port.to_string()]);
        replicate(&mut master.client(), &mut replica.client());
        (network, replica)
    }

    /// The port on 127.0.0.1 where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses all that the server sends from now on, but for so many bytes. What it is sent always arrives.
    pub fn lose_all_but(&self, bytes: usize) {
        self.way.left.store(bytes, SeqCst);
    }

    /// From now on nothing arrives on either side, and neither hears that the other has closed. All of it comes late.
    pub fn cut(&self) {
        *self.way.is_cut.lock().unwrap() = true;
    }

    pub fn heal(&self) {
        *self.way.is_cut.lock().unwrap() = false;
        self.way.healed.notify_all();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.way.is_over.store(true, SeqCst);
        self.heal();
        // Nobody would look at the flag otherwise.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Way {
    /// Carries bytes both ways until the caller or the server closes.
    fn connect(self: Arc<Self>, caller: TcpStream) {
        self.wait_while_cut();
        // Who connects when the server is gone finds nobody.
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.to)) else { return };
        let (from_caller, to_server) = (caller.try_clone().unwrap(), server.try_clone().unwrap());
        let there = Arc::clone(&self);
        thread::spawn(move || there.carry(from_caller, to_server, &AtomicUsize::new(usize::MAX)));
        self.carry(server, caller, &self.left);
    }

    /// Carries bytes from one end to the other until one of them closes. Those that are lost seem to have been taken.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, left: &AtomicUsize) {
        let mut buffer = [0; 4096];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            self.wait_while_cut();
            if read == 0 {
                break;
            }
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

    fn wait_while_cut(&self) {
        drop(self.healed.wait_while(self.is_cut.lock().unwrap(), |is_cut| *is_cut));
    }
}
