//! What stands in the place of a value and cannot be it.

use std::fmt;

use super::Object;
use super::bounds::Bounds;
use crate::outside;

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
        let said: String = self.object.groups().map(|group| format!("({group})")).collect();
        let reference = self.object.reference();
        let (reference, said) = (outside::escaped(&reference), outside::quoted(&said));
        write!(f, "{reference} says \"{said}\", ")?;
        match self.cause {
            Cause::Form => f.write_str("which is no number in the form that the standard gives it"),
            Cause::Unit => f.write_str("whose unit does not fit"),
            Cause::Bounds(bounds) => write!(f, "which is not within {bounds}"),
        }
    }
}

impl Misfit<'_> {
    /// The same without the telegram that it was read from.
    pub(super) fn into_owned(self) -> Misfit<'static> {
        Misfit {
            object: self.object.into_owned(),
            cause: self.cause,
        }
    }
}
