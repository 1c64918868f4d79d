//! What all routes share.

use super::auth::Auth;
use crate::app::App;
use crate::ports::Ports;

/// What the routes need: the engine, and who may use it.
#[derive(Clone)]
pub struct Api<P: Ports> {
    pub app: App<P>,
    pub auth: Auth,
}
