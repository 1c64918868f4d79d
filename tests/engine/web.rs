//! Pages read and webhooks called, with everything that servers do to those who ask.

use fanwise::app::outbound::http::{Page, Receipt, WebError, get, post};
use fanwise::core::net::url_guard::Refusal;

use crate::sites::{End, Site};
use crate::world::World;

const VARS: [(&str, &str); 3] = [
    ("FETCH_TIMEOUT_MS", "1000"),
    ("FETCH_MAX_BYTES", "2000"),
    ("FETCH_MAX_REDIRECTS", "3"),
];

fn world(sites: Vec<(&str, Site)>) -> World {
    let world = World::new(1, standin::Config::default());
    for (url, site) in sites {
        world.sites().set(url, site);
    }
    world
}

fn read(world: &World, url: &'static str) -> Result<Page, WebError> {
    let app = world.app(&VARS);
    world.block_on(async move { get(&app, url, |kind| kind.starts_with("text/")).await })
}

fn fate(site: Site) -> WebError {
    let world = world(vec![("https://a.org/", site)]);
    read(&world, "https://a.org/").unwrap_err()
}

#[test]
fn a_page_is_read_and_the_server_learns_who_asks() {
    let page = Site::page("text/html; charset=utf-8", "<p>hi</p>");
    let world = world(vec![("https://a.org/x?y=1", page)]);
    let page = read(&world, "https://a.org/x?y=1#part").unwrap();
    assert_eq!(page.url.as_str(), "https://a.org/x?y=1");
    assert_eq!(page.content_type, "text/html; charset=utf-8");
    assert_eq!(page.bytes, b"<p>hi</p>");
    let asked = world.sites().asked.remove(0);
    assert_eq!(asked.body, None);
    let agent = asked.headers.get("user-agent").unwrap().to_owned();
    assert!(
        agent.starts_with("Fanwise/") && agent.contains("+https://"),
        "{agent}"
    );
}

#[test]
fn redirects_are_followed_as_far_as_the_guard_lets_them() {
    let world = world(vec![
        ("https://a.org/", Site::redirect("/b")),
        ("https://a.org/b", Site::redirect("http://b.org/c")),
        ("http://b.org/c", Site::page("text/plain", "found")),
        (
            "https://inward.org/",
            Site::redirect("http://169.254.169.254/latest/meta-data/"),
        ),
        ("https://local.org/", Site::redirect("//localhost:8787/")),
        ("https://a.org/1", Site::redirect("/2")),
        ("https://a.org/2", Site::redirect("/3")),
        ("https://a.org/3", Site::redirect("/4")),
        ("https://a.org/4", Site::redirect("/5")),
        ("https://loop.org/", Site::redirect("/")),
        ("https://nowhere.org/", Site::new(302)),
    ]);
    let page = read(&world, "https://a.org/").unwrap();
    assert_eq!(page.url.as_str(), "http://b.org/c");
    assert_eq!(page.bytes, b"found");
    let refused = |url, why| {
        assert_eq!(
            read(&world, url).unwrap_err(),
            WebError::RefusedRedirect(why)
        );
    };
    refused("https://inward.org/", Refusal::PrivateAddress);
    refused("https://local.org/", Refusal::PrivateName);
    let many = WebError::TooManyRedirects(3);
    assert_eq!(read(&world, "https://a.org/1").unwrap_err(), many);
    assert_eq!(read(&world, "https://loop.org/").unwrap_err(), many);
    assert_eq!(
        read(&world, "https://nowhere.org/").unwrap_err(),
        WebError::DeadLink(302)
    );
    // What the guard refuses is never asked.
    let asked = world.sites();
    assert!(
        asked
            .asked
            .iter()
            .all(|request| request.url.host().ends_with(".org"))
    );
    assert_eq!(asked.count("https://a.org/4"), 1);
}

#[test]
fn every_way_to_fail_has_its_name() {
    let dead = fate(Site::new(404));
    assert_eq!((dead.code(), dead.again()), ("dead_link", None));
    assert_eq!(fate(Site::new(403)), WebError::DeadLink(403));
    assert_eq!(fate(Site::new(204)), WebError::DeadLink(204));
    let busy = fate(Site::new(503).header("Retry-After", "7"));
    assert_eq!(
        (busy.code(), busy.again()),
        ("site_unavailable", Some(Some(7_000)))
    );
    let gone = fate(Site::new(0));
    assert_eq!((gone.code(), gone.again()), ("unreachable", Some(None)));
    let cut = fate(Site::page("text/plain", "half").ending(End::Cut));
    assert_eq!(cut.code(), "unreachable");
    let kind = fate(Site::page("image/png", "PNG"));
    assert_eq!((kind.code(), kind.again()), ("wrong_type", None));
    assert_eq!(fate(Site::new(200)), WebError::WrongType(String::new()));
    let large = fate(Site::page("text/plain", &"x".repeat(2_001)));
    assert_eq!((large.code(), large.again()), ("page_too_large", None));
    let endless = fate(Site::page("text/plain", "more ").ending(End::Endless));
    assert_eq!(endless, WebError::TooLarge(2_000));
    let slow = fate(Site::page("text/plain", "late").after(1_001));
    assert_eq!((slow.code(), slow.again()), ("fetch_timed_out", Some(None)));
    let silent = fate(Site::page("text/plain", "one").ending(End::Silent));
    assert_eq!(silent, WebError::TimedOut(1_000));
    let world = world(vec![]);
    let refused = read(&world, "http://10.0.0.1/").unwrap_err();
    assert_eq!((refused.code(), refused.again()), ("url_refused", None));
    assert!(world.sites().asked.is_empty());
}

#[test]
fn a_post_is_sent_once_and_any_answer_is_a_receipt() {
    let world = world(vec![
        (
            "https://hook.org/",
            Site::page("text/plain", &"ok".repeat(2_000)),
        ),
        (
            "https://moved.org/",
            Site::redirect("http://127.0.0.1/").header("Retry-After", "3"),
        ),
        (
            "https://silent.org/",
            Site::page("text/plain", "").ending(End::Silent),
        ),
    ]);
    let send = |url: &'static str| -> Result<Receipt, WebError> {
        let app = world.app(&VARS);
        world.block_on(async move {
            let url = app.config.fetching.guard.check(url)?;
            let headers = vec![("webhook-id".to_owned(), "1".to_owned())];
            post(&app, &url, headers, "{}".to_owned(), 500).await
        })
    };
    let receipt = send("https://hook.org/").unwrap();
    assert_eq!((receipt.status, receipt.excerpt.len()), (200, 1_024));
    let receipt = send("https://moved.org/").unwrap();
    assert_eq!((receipt.status, receipt.retry_after_ms), (302, Some(3_000)));
    assert_eq!(
        send("https://silent.org/").unwrap_err(),
        WebError::TimedOut(500)
    );
    assert!(matches!(
        send("http://127.0.0.1/"),
        Err(WebError::Refused(_))
    ));
    let sites = world.sites();
    assert_eq!(sites.asked.len(), 3);
    let asked = &sites.asked[0];
    assert_eq!(asked.body.as_deref(), Some("{}"));
    assert_eq!(asked.headers.get("webhook-id"), Some("1"));
    assert!(asked.headers.get("user-agent").is_some());
}
