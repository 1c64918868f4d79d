#![allow(clippy::unwrap_used)]

use super::*;

fn refused(url: &str) -> Option<Refusal> {
    Guard::default().check(url).err()
}

#[test]
fn public_hosts_are_let_through() {
    for url in [
        "https://example.com",
        "http://example.com/",
        "HTTPS://Example.COM/Path?q=1#part",
        "https://example.com.",
        "https://sub.domain.example.co.uk/a/b.html",
        "https://example.com:443/",
        "http://example.com:80/",
        "https://example.com:8443/hook",
        "http://example.com:3000/",
        "https://1.1.1.1/",
        "http://8.8.8.8:8080/",
        "https://100.63.255.255/",
        "https://100.128.0.1/",
        "https://172.15.0.1/",
        "https://172.32.0.1/",
        "https://169.253.1.1/",
        "https://192.169.0.1/",
        "https://223.255.255.254/",
        "https://[2606:4700:4700::1111]/",
        "https://[2a00:1450:4001::1]:8443/",
        "https://[2001:4860:4860::8888]/",
        "https://b\u{fc}cher.example.org/",
        "https://xn--bcher-kva.com/",
        "https://myinternal.com/",
        "https://internal.example.com/",
        "https://localhost.example.com/",
        "https://local.host/",
        " https://example.com/trimmed ",
        "https:example.com",
        "https:\\\\example.com\\path",
    ] {
        assert_eq!(refused(url), None, "{url}");
    }
}

#[test]
fn private_addresses_are_refused_however_they_are_written() {
    for url in [
        // Loopback, in every way the parser knows.
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://127.255.255.254/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://0177.0.0.01/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http:127.0.0.1",
        "http:/127.0.0.1",
        "http:\\\\127.0.0.1\\",
        "http://0/",
        "http://0.0.0.0/",
        "http://00000000000/",
        // Private, shared, link-local.
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.0.1/",
        "http://192.168.255.255/",
        "http://0xc0a80001/",
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://169.254.1.1/",
        // Metadata services.
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://0251.0376.0251.0376/",
        "http://169.254.170.2/v2/credentials",
        "http://100.100.100.200/",
        "http://192.0.0.192/",
        "http://168.63.129.16/",
        // Reserved, documentation, benchmark, multicast, broadcast.
        "http://0.1.2.3/",
        "http://192.0.2.1/",
        "http://198.51.100.7/",
        "http://203.0.113.9/",
        "http://198.18.0.1/",
        "http://198.19.255.255/",
        "http://192.88.99.1/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        // IPv6.
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[100::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[febf::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[2001::1]/",
        "http://[2001:0:7f00:1::]/",
        "http://[2001:10::1]/",
        "http://[2001:db8::1]/",
        "http://[2002:7f00:1::]/",
        "http://[3fff::1]/",
        "http://[4000::1]/",
    ] {
        assert_eq!(refused(url), Some(Refusal::PrivateAddress), "{url}");
    }
}

#[test]
fn private_names_are_refused() {
    for url in [
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://a.localhost/",
        "http://localhost:8787/",
        "http://localhost.localdomain/",
        "http://printer.local/",
        "http://metadata/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./computeMetadata/v1/",
        "http://metadata.goog/",
        "http://db.internal/",
        "http://ip-10-0-0-1.ec2.internal/",
        "http://wiki.corp/",
        "http://nas.home/",
        "http://router.lan/",
        "http://router.home.arpa/",
        "http://1.0.0.127.in-addr.arpa/",
        "http://intranet/",
        "http://kubernetes/",
        "http://kubernetes.default.svc/",
        "http://kubernetes.default.svc.cluster.local/",
        "http://hidden.onion/",
        "http://host.test/",
        "http://host.example/",
        "http://host.invalid/",
        "http://127.0.0.1.nip.io/",
        "http://a.169-254-169-254.sslip.io/",
        "http://localtest.me/",
        "http://a..example.com/",
        "http://.example.com/",
        "http://l\u{200b}ocalhost/",
        "http://ⓛocalhost/",
        "http://localhost%2E/",
    ] {
        assert_eq!(refused(url), Some(Refusal::PrivateName), "{url}");
    }
    let long = format!("http://{}.com/", "a".repeat(64));
    assert_eq!(refused(&long), Some(Refusal::PrivateName));
}

#[test]
fn other_schemes_credentials_and_ports_are_refused() {
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,hi",
        "gopher://example.com/",
        "ws://example.com/",
        "blob:https://example.com/1",
        "view-source:https://example.com/",
    ] {
        assert_eq!(refused(url), Some(Refusal::Scheme), "{url}");
    }
    for url in [
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com%40evil@example.org/",
    ] {
        assert_eq!(refused(url), Some(Refusal::Credentials), "{url}");
    }
    for url in [
        "http://example.com:0/",
        "http://example.com:1/",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:53/",
        "http://example.com:445/",
        "http://example.com:2375/",
        "http://example.com:3306/",
        "http://example.com:5432/",
        "http://example.com:6379/",
        "http://example.com:6667/",
        "http://example.com:9092/",
        "http://example.com:10250/",
        "http://example.com:11211/",
        "http://example.com:27017/",
    ] {
        assert_eq!(refused(url), Some(Refusal::Port), "{url}");
    }
    for url in [
        "",
        "   ",
        "example.com",
        "//example.com",
        "/path",
        "https://",
        "https:///",
        "http://a b/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://0x100000000/",
        "http://999999999999/",
        "http://exa\u{0}mple.com/",
        "http://a%00b.com/",
    ] {
        assert_eq!(refused(url), Some(Refusal::NotAUrl), "{url:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
    assert_eq!(refused(&long), Some(Refusal::TooLong));
    // What escaping makes of it counts.
    let long = format!("https://example.com/{}", "\u{e9}".repeat(MAX_URL / 4));
    assert_eq!(refused(&long), Some(Refusal::TooLong));
}

#[test]
fn every_hop_is_checked_again() {
    let guard = Guard::default();
    let from = guard.check("https://example.com/a/b?c#d").unwrap();
    assert_eq!(from.as_str(), "https://example.com/a/b?c");
    let to = |location: &str| {
        guard
            .follow(&from, location)
            .map(|url| url.as_str().to_owned())
    };
    assert_eq!(to("next"), Ok("https://example.com/a/next".into()));
    assert_eq!(to("/root"), Ok("https://example.com/root".into()));
    assert_eq!(to("//other.org/x"), Ok("https://other.org/x".into()));
    assert_eq!(to("http://other.org"), Ok("http://other.org/".into()));
    assert_eq!(to("//127.0.0.1/"), Err(Refusal::PrivateAddress));
    assert_eq!(to("http://169.254.169.254/"), Err(Refusal::PrivateAddress));
    assert_eq!(to("//localhost/"), Err(Refusal::PrivateName));
    assert_eq!(to("//user@other.org/"), Err(Refusal::Credentials));
    assert_eq!(to("file:///etc/passwd"), Err(Refusal::Scheme));
    assert_eq!(to("http://["), Err(Refusal::NotAUrl));
}

#[test]
fn the_operator_can_allow_single_hosts_with_their_ports() {
    let guard = Guard::new("127.0.0.1:9922, [::1]:80,Build.Internal:25").unwrap();
    let passes = |url: &str| guard.check(url).is_ok();
    assert!(passes("http://127.0.0.1:9922/page"));
    assert!(passes("http://0x7f.1:9922/page"));
    assert!(passes("https://127.0.0.1:9922/page"));
    assert!(passes("http://[::1]/"));
    assert!(passes("http://build.internal:25/"));
    assert!(!passes("http://127.0.0.1:9923/"));
    assert!(!passes("http://127.0.0.1/"));
    assert!(!passes("http://127.0.0.2:9922/"));
    assert!(!passes("http://user@127.0.0.1:9922/"));
    assert!(!passes("ftp://127.0.0.1:9922/"));
    assert!(!passes("http://a.build.internal:25/"));
    assert!(passes("https://example.com/"));
    for empty in ["", "  ", ",", " , "] {
        assert_eq!(Guard::new(empty), Ok(Guard::default()));
    }
    for wrong in [
        "127.0.0.1",
        "host:",
        ":80",
        "host:port",
        "host:70000",
        "a/b:80",
    ] {
        assert_eq!(Guard::new(wrong), Err(1), "{wrong}");
    }
}
