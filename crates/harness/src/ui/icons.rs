//! Icons, drawn here: 16 by 16, stroked in the colour of the text beside them, never without a word.

use maud::{Markup, html};

/// One icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icon {
    Alert,
    Aside,
    Check,
    Clock,
    Cross,
    Half,
    Lock,
    Mail,
    Menu,
    Model,
    Pause,
    Person,
    Play,
    Receipt,
    Stop,
    Undo,
}

impl Icon {
    fn path(self) -> &'static str {
        match self {
            Self::Alert => "M8 2.2 14.4 13.5H1.6ZM8 6.5v3M8 11.6v.1",
            Self::Aside => "M3 4h10M3 8h6M3 12h4M12 9v5M10 12l2 2 2-2",
            Self::Check => "M3 8.5 6.5 12 13 4.5",
            Self::Clock => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 4.8V8l2.2 1.6",
            Self::Cross => "M4 4l8 8M12 4l-8 8",
            Self::Half => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 2v12M8 5h4M8 8h6M8 11h4",
            Self::Lock => "M4 7.5h8v6H4ZM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
            Self::Mail => "M2 4h12v8H2ZM2 4.5l6 4.5 6-4.5",
            Self::Menu => "M2 4h12M2 8h12M2 12h12",
            Self::Model => "M8 3v6M8 12.4v.1M3 2h10v12H3Z",
            Self::Pause => "M5.5 3.5v9M10.5 3.5v9",
            Self::Person => {
                "M8 8.2a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM2.8 14a5.2 5.2 0 0 1 10.4 0"
            }
            Self::Play => "M5 3.2v9.6L13 8Z",
            Self::Receipt => "M4 2h8v12l-2-1.4-2 1.4-2-1.4L4 14ZM6.3 5.5h3.4M6.3 8.5h3.4",
            Self::Stop => "M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5ZM8 5v3.5M8 11v.1",
            Self::Undo => "M6 3 3 6l3 3M3 6h6.5a3.5 3.5 0 0 1 0 7H6",
        }
    }

    /// The drawing; readers skip it, the word beside it says the same.
    pub(crate) fn draw(self) -> Markup {
        html! {
            svg.icon viewBox="0 0 16 16" aria-hidden="true" focusable="false" {
                path d=(self.path()) {}
            }
        }
    }
}
