//! The front door over the very SQL: tokens and tenants, caps of tokens, events, conditional requests, MCP. Requests go into the
//! router as the platform would hand them over.

mod attacks;
mod events;
mod mcp;
mod pages;
mod plans;
mod rows;
mod tables;
mod tokens;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use fanwise::api::auth::Auth;
use fanwise::api::{Api, router};
use fanwise::app::App;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::flows::over;
use crate::world::World;

const SECRET: &str = "the-operators-token";

/// A deployment: the world, the engine, and its door.
struct Door {
    world: World,
    app: App<World>,
    router: Router,
}

/// A whole answer.
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))
    }

    /// The answer, which must have this status.
    fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

impl Door {
    fn open(vars: &[(&str, &str)]) -> Door {
        let claude = standin::Config {
            latency_ms: 200,
            ..standin::Config::default()
        };
        Door::over(World::new(11, claude), vars)
    }

    fn over(world: World, vars: &[(&str, &str)]) -> Door {
        let app = world.app(vars);
        let router = router(Api {
            app: app.clone(),
            auth: Auth::new(Some(SECRET)),
        });
        Door { world, app, router }
    }

    fn send(&self, request: Request<Body>) -> Reply {
        let router = self.router.clone();
        self.world.block_on(async move {
            let response = router.oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Reply {
                status: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8(bytes.to_vec()).unwrap(),
            }
        })
    }

    /// With a token and, unless it is null, a JSON body.
    fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        self.call_with(token, method, path, &[], body)
    }

    fn call_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap())
    }

    fn get(&self, token: &str, path: &str) -> Reply {
        self.call(token, "GET", path, Value::Null)
    }

    /// A token by the operator; its text and its id.
    fn token(&self, wants: Value) -> (String, String) {
        let made = self
            .call(SECRET, "POST", "/v1/tokens", wants)
            .expect(201)
            .json();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("token"), text("id"))
    }

    fn submit(&self, token: &str, items: usize) -> String {
        let job = self
            .call(token, "POST", "/v1/jobs", body(items))
            .expect(202)
            .json();
        job["id"].as_str().unwrap().to_owned()
    }

    /// Lets the engine work until the job is over.
    fn finish(&self, job: &str) {
        self.world
            .run(&self.app, 10_000, 3_600_000, || over(&self.world, job));
    }
}

/// A submit of so many items, one to a worker.
fn body(items: usize) -> Value {
    json!({
        "task": "Find the recurring issues",
        "input": {"items": crate::flows::texts(items)},
        "stages": crate::flows::stages(1),
    })
}
