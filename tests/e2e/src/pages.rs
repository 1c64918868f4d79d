//! A server of pages on this machine, good ones and bad ones of every kind.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server of pages, good and bad; it runs until the test ends.
pub fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever asked may be gone before the answer's end.
                let _ = answer(stream);
            });
        }
    });
    port
}

/// A gzip of 130 KB that unpacks to 20 MB of the same letter: one block with the fixed code, which says "258 times what was there".
fn bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut bits = 0_u32;
    let mut push = |code: u32, len: u32| {
        for at in (0..len).rev() {
            if bits.is_multiple_of(8) {
                bytes.push(0);
            }
            let last = bytes.last_mut().unwrap();
            *last |= u8::try_from(code >> at & 1).unwrap() << (bits % 8);
            bits += 1;
        }
    };
    // The last block, with the fixed code; the letter `a`.
    push(0b110, 3);
    push(0x30 + 0x61, 8);
    for _ in 0..80_000 {
        // Length 258, distance 1.
        push(0b1100_0101, 8);
        push(0, 5);
    }
    push(0, 7);
    bytes.extend([0; 8]);
    bytes
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (kind, number) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or_default();
    let page = |text: &str| {
        let html = format!(
            "<html><head><title>Page {number}</title><style>p {{}}</style></head><body><nav>Menu</nav><h1>Page</h1>{text}</body></html>"
        );
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}",
            html.len()
        )
    };
    let redirect = |to: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = match kind {
        "page" => page(&format!("<p>Page {number} is about caf&eacute;s &amp; bars.</p>")),
        "long" => page(&"<p>A paragraph of some length, which says little.</p>".repeat(1_000)),
        "hop" => redirect(&format!("/page/{number}")),
        "inward" => redirect("http://169.254.169.254/latest/meta-data/"),
        "image" => "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\nConnection: close\r\n\r\nPNG".to_owned(),
        "latin" => {
            let html = b"<html><head><meta charset=\"iso-8859-1\"></head><p>caf\xe9</p></html>";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                html.len()
            );
            stream.write_all(&[head.as_bytes(), html].concat())?;
            return Ok(());
        }
        "bomb" => {
            let body = bomb();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.into_bytes(), body].concat())?;
            return Ok(());
        }
        "endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4_096])?;
            }
        }
        "silent" => {
            // Until the other side gives up.
            stream.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(answer.as_bytes())
}
