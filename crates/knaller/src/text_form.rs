//! Types that are texts in JSON: those of their `FromStr` and `Display`.

/// For a type with `#[serde(try_from = "String", into = "String")]`, and the error of its `FromStr`.
macro_rules! text_form {
    ($type:ty, $error:ty) => {
        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> std::result::Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use text_form;
