//! All adapters together, as the use cases want them.

use crate::platform::claude::ClaudeFetch;
use crate::platform::clock::EdgeClock;
use crate::platform::d1::D1;
use crate::platform::entropy::WebCrypto;
use crate::platform::kv::Kv;
use crate::platform::log::Console;
use crate::platform::queue::Queues;
use crate::platform::web::WebFetch;
use crate::platform::zones::IntlZones;
use crate::ports::Ports;

/// The edges of one invocation. Bindings belong to the invocation that got them, so this is built anew
/// for each and never kept in a static.
#[derive(Clone)]
pub struct WorkerPorts {
    pub db: D1,
    pub blobs: Kv,
    pub queue: Queues,
    pub claude: ClaudeFetch,
    pub web: WebFetch,
    pub clock: EdgeClock,
    pub entropy: WebCrypto,
    pub log: Console,
}

impl Ports for WorkerPorts {
    type Db = D1;
    type Blobs = Kv;
    type Queue = Queues;
    type Claude = ClaudeFetch;
    type Web = WebFetch;
    type Clock = EdgeClock;
    type Zones = IntlZones;
    type Entropy = WebCrypto;
    type Log = Console;

    fn db(&self) -> &D1 {
        &self.db
    }

    fn blobs(&self) -> &Kv {
        &self.blobs
    }

    fn queue(&self) -> &Queues {
        &self.queue
    }

    fn claude(&self) -> &ClaudeFetch {
        &self.claude
    }

    fn web(&self) -> &WebFetch {
        &self.web
    }

    fn zones(&self) -> &IntlZones {
        &IntlZones
    }

    fn clock(&self) -> &EdgeClock {
        &self.clock
    }

    fn entropy(&self) -> &WebCrypto {
        &self.entropy
    }

    fn log(&self) -> &Console {
        &self.log
    }

    /// Of this isolate, JavaScript's own aside. Linear memory never shrinks, so it is the most that was needed since the start.
    fn memory(&self) -> Option<u64> {
        const PAGE: usize = 65_536;
        u64::try_from(core::arch::wasm32::memory_size::<0>() * PAGE).ok()
    }
}
