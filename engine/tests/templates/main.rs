//! The built-in templates over real and made-up bars, and what the documentation says of them.

mod documentation;
mod look_ahead;
mod sample;
