//! What operators see: counters now; metrics, health details and traces later.

pub mod counters;
