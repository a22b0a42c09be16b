//! Replies, events and what is logged.
