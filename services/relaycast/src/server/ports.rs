//! Ports that are chosen before whoever listens there begins.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Where an address that is taken is given up for any that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// Nobody asked for this one.
    TakeAnother,
    /// Somebody did.
    Fail,
}

/// An address that can be had.
pub(super) fn free(listen: SocketAddr, otherwise: Otherwise) -> io::Result<SocketAddr> {
    let any = SocketAddr::new(listen.ip(), 0);
    let bound = TcpListener::bind(listen).or_else(|error| match otherwise {
        Otherwise::TakeAnother if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(any),
        Otherwise::TakeAnother | Otherwise::Fail => Err(error),
    });
    bound?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_given_up_only_if_nobody_asked_for_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address, Otherwise::Fail).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let another = free(address, Otherwise::TakeAnother).unwrap();
        assert_eq!(another.ip(), address.ip());
        assert_ne!(another.port(), address.port());
        drop(taken);
        assert_eq!(free(address, Otherwise::TakeAnother).unwrap(), address);
    }
}
