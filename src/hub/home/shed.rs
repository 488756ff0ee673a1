//! Less history when memory is short. Never decides when that is.

use super::Home;

impl Home {
    /// Moves the budget of all histories towards `bytes`: drops at most `most` of the oldest publications now. True
    /// once it is there; call it again until then. Who wanted what was dropped is told that it is gone.
    pub fn limit_history(&mut self, bytes: usize, most: usize) -> bool {
        self.shelf.limit(&mut self.channels, bytes, most)
    }
}
