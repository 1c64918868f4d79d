//! Server-sent events to one message.
