//! Stand-ins for use cases that are not merged yet; goes away with them.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    Ack,
    Retry { delay_seconds: u32 },
}

pub mod consume {
    use super::Settle;
    use crate::app::App;
    use crate::ports::Ports;

    pub async fn control<P: Ports>(_app: &App<P>, _body: &str) -> Settle {
        Settle::Ack
    }

    pub async fn tasks<P: Ports>(_app: &App<P>, _bodies: Vec<String>) -> Settle {
        Settle::Ack
    }

    pub async fn dead_letter<P: Ports>(_app: &App<P>, _queue: &str, _body: &str) -> Settle {
        Settle::Ack
    }
}

pub mod sweep {
    use crate::app::App;
    use crate::ports::Ports;

    pub async fn sweep<P: Ports>(_app: &App<P>) {}
}
