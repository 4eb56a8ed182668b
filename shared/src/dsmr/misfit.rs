//! What stands in the place of a value and cannot be it.

use std::fmt::{self, Write as _};

use super::Object;
use super::bounds::Bounds;

/// A data object whose reference has a value, and that says none. [`super::Readings::other`] has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit<'t> {
    /// The object as it came.
    pub object: Object<'t>,
    /// Why it is no value.
    pub cause: Cause,
}

/// Why something is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It is no number, or a number without a unit and not in the form that the standard gives it.
    Form,
    /// Its unit is not in the table, or is that of another quantity.
    Unit,
    /// No household has that much.
    Bounds(Bounds),
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reference = self.object.reference();
        write!(f, "{} says \"", reference.escape_debug())?;
        let mut left = QUOTED_CHARACTERS - 1;
        let said = self.object.groups().map(|group| format!("({group})"));
        for escaped in said.collect::<String>().chars().map(char::escape_debug) {
            let Some(rest) = left.checked_sub(escaped.len()) else {
                f.write_char('…')?;
                break;
            };
            left = rest;
            write!(f, "{escaped}")?;
        }
        f.write_str("\", ")?;
        match self.cause {
            Cause::Form => f.write_str("which is no number in the form that the standard gives it"),
            Cause::Unit => f.write_str("whose unit does not fit"),
            Cause::Bounds(bounds) => write!(f, "which is not within {bounds}"),
        }
    }
}

/// Most characters of a quote, which may be as long as the telegram.
const QUOTED_CHARACTERS: usize = 64;

impl Misfit<'_> {
    /// The same without the telegram that it was read from.
    pub(super) fn into_owned(self) -> Misfit<'static> {
        Misfit {
            object: self.object.into_owned(),
            cause: self.cause,
        }
    }
}
