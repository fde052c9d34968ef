//! The socket between the supervisor and the launcher or zygote: JSON messages, some with file descriptors.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::{check, message_sockets};

/// The longest message.
const MESSAGE_MAX: usize = 64 << 10;
/// The most descriptors with one message.
const FDS_MAX: usize = 4;

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What a receive brought.
pub enum Received<T> {
    /// A message, and the descriptor that came with it.
    Message(T, Option<OwnedFd>),
    /// Nothing now (only when not waiting).
    Nothing,
    /// The other end is closed.
    Closed,
}

/// Room for a control message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Channel {
    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = message_sockets()?;
        Ok((Self(ours), theirs))
    }

    /// An end that this process was given.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends a message with descriptors, which stay open here.
    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        assert!(fds.len() <= FDS_MAX, "a message carries at most {FDS_MAX} descriptors");
        let mut bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_MAX {
            return Err(io::Error::other("a message to the sandbox is too long"));
        }
        let raw: Vec<i32> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let mut control = Control([0; 64]);
        // SAFETY: `header` points at `bytes`, `part` and `control`, which outlive the call; the control message (one header and at most
        // four descriptors, 32 bytes) fits into `control`.
        unsafe {
            let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &mut part;
            header.msg_iovlen = 1;
            if !raw.is_empty() {
                let size = size_of_val(raw.as_slice());
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(size as u32) as _;
                let item = libc::CMSG_FIRSTHDR(&header);
                (*item).cmsg_level = libc::SOL_SOCKET;
                (*item).cmsg_type = libc::SCM_RIGHTS;
                (*item).cmsg_len = libc::CMSG_LEN(size as u32) as _;
                std::ptr::copy_nonoverlapping(raw.as_ptr().cast::<u8>(), libc::CMSG_DATA(item), size);
            }
            check(libc::sendmsg(self.0.as_raw_fd(), &header, libc::MSG_NOSIGNAL) as i64)?;
        }
        Ok(())
    }

    /// Receives a message, waiting for it when `wait`.
    pub fn receive<T: DeserializeOwned>(&self, wait: bool) -> io::Result<Received<T>> {
        let mut bytes = vec![0u8; MESSAGE_MAX];
        match self.receive_bytes(&mut bytes, wait) {
            Ok((0, _)) => Ok(Received::Closed),
            Ok((length, fd)) => Ok(Received::Message(serde_json::from_slice(&bytes[..length])?, fd)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Received::Closed),
            Err(error) => Err(error),
        }
    }

    fn receive_bytes(&self, bytes: &mut [u8], wait: bool) -> io::Result<(usize, Option<OwnedFd>)> {
        let mut control = Control([0; 64]);
        let flags = libc::MSG_CMSG_CLOEXEC | if wait { 0 } else { libc::MSG_DONTWAIT };
        // SAFETY: `header` points at `bytes`, `part` and `control`, which outlive the call; a descriptor in a control message of the
        // right kind is new and belongs to nobody else. The other end sends one at most.
        unsafe {
            let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control.0.len() as _;
            let length = loop {
                match check(libc::recvmsg(self.0.as_raw_fd(), &mut header, flags) as i64) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result? as usize,
                }
            };
            let item = libc::CMSG_FIRSTHDR(&header);
            let fd = (!item.is_null() && (*item).cmsg_level == libc::SOL_SOCKET && (*item).cmsg_type == libc::SCM_RIGHTS)
                .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(item).cast::<i32>().read_unaligned()));
            Ok((length, fd))
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_and_descriptors_cross() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs);
        assert!(matches!(theirs.receive::<String>(false).unwrap(), Received::Nothing));

        let (mut reader, writer) = std::io::pipe().unwrap();
        ours.send(&"hello", &[writer.as_fd()]).unwrap();
        drop(writer);
        let Received::Message(text, Some(fd)) = theirs.receive::<String>(true).unwrap() else { panic!("no message with a descriptor") };
        assert_eq!(text, "hello");
        std::fs::File::from(fd).write_all(b"through").unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "through");

        drop(ours);
        assert!(matches!(theirs.receive::<String>(true).unwrap(), Received::Closed));
    }
}
