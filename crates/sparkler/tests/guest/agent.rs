//! Init of the test guests: loads the modules of `/modules/order`, then serves small services over vsock, so that a
//! test on the host drives everything through sockets. Compiled by the tests with plain rustc, static.
//!
//! | port | service |
//! |---|---|
//! | 7 | sends back what it gets; ends its side when the other does |
//! | 9 | swallows everything, then answers with the number of bytes and their sum |
//! | 11 | reads `PORT\n`, connects to that port of the host and joins the two; `refused` if nobody listens |
//! | 13 | reads `PORT COUNT\n`, opens so many connections to the host at once, each sends a line and waits for it back |
//! | 19 | reads `COUNT\n`, sends so many bytes, closes |
//! | 21 | reads a line and runs it by busybox's shell, answering with its output |

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

const AF_VSOCK: i32 = 40;
const SOCK_STREAM: i32 = 1;
const CID_ANY: u32 = u32::MAX;
const CID_HOST: u32 = 2;
const SYS_FINIT_MODULE: i64 = if cfg!(target_arch = "x86_64") { 313 } else { 273 };

#[repr(C)]
struct SockaddrVm {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

unsafe extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn bind(fd: i32, address: *const SockaddrVm, len: u32) -> i32;
    fn listen(fd: i32, backlog: i32) -> i32;
    fn accept(fd: i32, address: *mut u8, len: *mut u32) -> i32;
    fn connect(fd: i32, address: *const SockaddrVm, len: u32) -> i32;
    fn syscall(number: i64, ...) -> i64;
}

fn address(cid: u32, port: u32) -> SockaddrVm {
    SockaddrVm { family: AF_VSOCK as u16, reserved: 0, port, cid, zero: [0; 4] }
}

fn checked(result: i32) -> std::io::Result<i32> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

/// A TcpStream's calls (recv, send, shutdown) are those of any stream socket.
fn stream(fd: i32) -> TcpStream {
    TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn dial(port: u32) -> std::io::Result<TcpStream> {
    let socket = stream(checked(unsafe { socket(AF_VSOCK, SOCK_STREAM, 0) })?);
    checked(unsafe { connect(socket.as_raw_fd(), &address(CID_HOST, port), 16) })?;
    Ok(socket)
}

fn serve(port: u32, service: fn(TcpStream)) {
    let listener = checked(unsafe { socket(AF_VSOCK, SOCK_STREAM, 0) }).expect("socket");
    checked(unsafe { bind(listener, &address(CID_ANY, port), 16) }).expect("bind");
    checked(unsafe { listen(listener, 1024) }).expect("listen");
    thread::spawn(move || loop {
        match checked(unsafe { accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) }) {
            Ok(fd) => {
                let client = stream(fd);
                let _ = thread::Builder::new().stack_size(64 * 1024).spawn(move || service(client));
            }
            Err(error) => println!("agent: accept: {error}"),
        }
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            let _ = from.shutdown(Shutdown::Read);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn echo(client: TcpStream) {
    let Ok(back) = client.try_clone() else { return };
    copy(client, back);
}

fn sink(mut client: TcpStream) {
    let (mut count, mut sum) = (0u64, 0u64);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        count += read as u64;
        sum += buffer[..read].iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    let _ = client.write_all(format!("{count} {sum}\n").as_bytes());
}

fn line(client: &TcpStream) -> Vec<u64> {
    text(client).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// One byte at a time, so that nothing after the line is taken.
fn text(mut client: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while let Ok(1) = client.read(&mut byte) {
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

fn join(mut client: TcpStream) {
    let Some(&port) = line(&client).first() else { return };
    match dial(port as u32) {
        Ok(host) => {
            let (from, to) = (client.try_clone().expect("clone"), host.try_clone().expect("clone"));
            let there = thread::spawn(move || copy(from, to));
            copy(host, client);
            let _ = there.join();
        }
        Err(error) => {
            let _ = writeln!(client, "refused {error}");
        }
    }
}

fn crowd(mut client: TcpStream) {
    let [port, count] = line(&client)[..] else { return };
    let all: Vec<_> = (0..count)
        .map(|number| {
            thread::Builder::new().stack_size(64 * 1024).spawn(move || -> std::io::Result<bool> {
                let mut host = dial(port as u32)?;
                let sent = format!("number {number}\n");
                host.write_all(sent.as_bytes())?;
                let mut back = String::new();
                BufReader::new(host).read_line(&mut back)?;
                Ok(back == sent)
            })
        })
        .collect();
    let good = all.into_iter().filter(|_| true).map(|thread| thread.expect("spawn").join().expect("join"));
    let good = good.filter(|result| matches!(result, Ok(true))).count();
    let _ = writeln!(client, "{good}");
}

fn source(mut client: TcpStream) {
    let Some(&count) = line(&client).first() else { return };
    let buffer: Vec<u8> = (0..64 * 1024u32).map(|at| (at % 251) as u8).collect();
    let mut left = count as usize;
    while left > 0 {
        let size = left.min(buffer.len());
        if client.write_all(&buffer[..size]).is_err() {
            return;
        }
        left -= size;
    }
}

fn shell(mut client: TcpStream) {
    // There is no /dev/null here.
    let output =
        Command::new("/bin/busybox").args(["sh", "-c", &text(&client)]).stdin(Stdio::inherit()).output();
    let _ = match output {
        Ok(output) => client.write_all(&[output.stdout, output.stderr].concat()),
        Err(error) => writeln!(client, "no shell: {error}"),
    };
}

fn load_modules() {
    let Ok(order) = File::open("/modules/order") else { return };
    for name in BufReader::new(order).lines().map_while(Result::ok) {
        let file = File::open(format!("/modules/{name}")).expect("module");
        let loaded = unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
        if loaded != 0 {
            println!("agent: {name}: {}", std::io::Error::last_os_error());
        }
    }
}

fn main() {
    load_modules();
    for (port, service) in [(7, echo as fn(TcpStream)), (9, sink), (11, join), (13, crowd), (19, source), (21, shell)] {
        serve(port, service);
    }
    println!("agent: ready");
    loop {
        thread::park();
    }
}
