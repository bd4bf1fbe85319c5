//! Whether there is a person at the other end, and what their terminal can show.

use std::io::IsTerminal;

/// How a stream is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether colours are welcome: a terminal, and no `NO_COLOR` (<https://no-color.org>).
    pub(crate) colour: bool,
    /// Width of the terminal in characters; `None` where there is none, and lines may be of any length.
    pub(crate) width: Option<u16>,
}

impl Look {
    /// For files, pipes and tests.
    pub(crate) const PLAIN: Look = Look { colour: false, width: None };

    /// For standard output as it is.
    pub(crate) fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        Self { colour: !no_colour(), width: comfy_table::Table::new().width() }
    }

    /// `text` in bold where colours are welcome.
    pub(crate) fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    /// `text` in red where colours are welcome.
    pub(crate) fn red(self, text: &str) -> String {
        self.styled("31", text)
    }

    /// `text` in green where colours are welcome.
    pub(crate) fn green(self, text: &str) -> String {
        self.styled("32", text)
    }

    fn styled(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether the user asked for no colours.
pub(crate) fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
