//! A durable disk queue and its scheduler.
