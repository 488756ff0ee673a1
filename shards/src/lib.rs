//! How bytes move: the thread-per-core runtime.
