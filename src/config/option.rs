//! The macro by which a section declares its options, and what a declaration says.
//!
//! One declaration of an option yields the field of the section's type, its documentation, its
//! reading with all checks of the single value, and its entry in the table from which the
//! reference file and the "did you mean" derive. No option is written down a second time.

use super::read::Table;

/// What happens where an option is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The text of the option is read in its place.
    Default,
    /// There is no value; the sentence says what happens then, the text is an example.
    Optional,
    /// A fault; the text is an example.
    Required,
    /// The name of this machine; the text is an example.
    MachineName,
}

/// One option as declared.
#[derive(Debug)]
pub struct Declared {
    /// The key.
    pub name: &'static str,
    /// What it does, one line of text each.
    pub about: &'static [&'static str],
    /// A value in TOML: the default, or an example where there is none.
    pub text: &'static str,
    /// What happens where the key is absent.
    pub absent: Absent,
    /// The smallest and the largest value, where the type has an order.
    pub range: Option<(&'static str, &'static str)>,
    /// The RFC and section that rule the value.
    pub rfc: Option<&'static str>,
}

/// How a section is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The keys before the first section.
    Top,
    /// `[name]`
    Table,
    /// `[[name]]`, any number of times.
    Array,
}

/// One section as declared.
#[derive(Debug)]
pub struct Described {
    /// The name between the brackets; empty for the top level.
    pub name: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is for, one line of text each.
    pub about: &'static [&'static str],
    /// Its options, in the order of declaration.
    pub options: &'static [Declared],
}

impl Described {
    /// The section as it is written: `[queue]`, `[[domain]]`, or "the top level".
    #[must_use]
    pub fn written(&self) -> String {
        match self.shape {
            Shape::Top => "the top level".to_owned(),
            Shape::Table => format!("[{}]", self.name),
            Shape::Array => format!("[[{}]]", self.name),
        }
    }

    /// Whether it has an option of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.name == name)
    }
}

/// A section that can be read from a table.
pub(super) trait Section: Sized {
    /// Its declaration.
    const DESCRIBED: Described;
    /// What is known of it beside its options; `None` is what could not be read.
    type Beside;

    /// Reads every option, so that every fault is found; `None` if there was any.
    fn read(table: &mut Table<'_>, beside: Self::Beside) -> Option<Self>;
}

/// Declares sections. An option is
///
/// ```text
/// /// What it does.
/// name: Type as Kind = default "text in TOML", in "least" to "most", by "rfc… section";
/// ```
///
/// where `Kind` (see `value`) reads the text, and `default` may be another word of [`Absent`].
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])+
        $shape:ident $Section:ident = $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $ty:ty as $kind:ty = $absent:ident $text:literal
                    $(, in $least:literal to $most:literal)? $(, by $rfc:literal)?;
            )*
        }
        $(and { $( $(#[doc = $beside_doc:literal])+ $beside:ident: $beside_ty:ty; )+ })?
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $( $(#[doc = $doc])+ pub $name: $ty, )*
            $($( $(#[doc = $beside_doc])+ pub $beside: $beside_ty, )+)?
        }

        impl $crate::config::option::Section for $Section {
            const DESCRIBED: $crate::config::option::Described =
                $crate::config::option::Described {
                    name: $section,
                    shape: $crate::config::option::Shape::$shape,
                    about: &[$($about),+],
                    options: &[$( $crate::config::option::Declared {
                        name: stringify!($name),
                        about: &[$($doc),+],
                        text: $text,
                        absent: $crate::config::option::absent!($absent),
                        range: $crate::config::option::given!($(($least, $most))?),
                        rfc: $crate::config::option::given!($($rfc)?),
                    } ),*],
                };
            type Beside = ($($( Option<$beside_ty>, )+)?);

            fn read(
                table: &mut $crate::config::read::Table<'_>,
                beside: Self::Beside,
            ) -> Option<Self> {
                let mut declared = Self::DESCRIBED.options.iter();
                $( let $name = table.$absent::<$kind>(declared.next()?); )*
                let ($($( $beside, )+)?) = beside;
                Some(Self { $( $name: $name?, )* $($( $beside: $beside?, )+)? })
            }
        }
    )+};
}
pub(super) use sections;

/// The [`Absent`] of a word in a declaration.
macro_rules! absent {
    (default) => {
        $crate::config::option::Absent::Default
    };
    (optional) => {
        $crate::config::option::Absent::Optional
    };
    (required) => {
        $crate::config::option::Absent::Required
    };
    (machine_name) => {
        $crate::config::option::Absent::MachineName
    };
}
pub(super) use absent;

/// `Some` of what was given in a declaration.
macro_rules! given {
    () => {
        None
    };
    ($given:expr) => {
        Some($given)
    };
}
pub(super) use given;
