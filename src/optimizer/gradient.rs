//! Which floats are gradients.

/// Gradients beyond this are refused, as infinite ones are. Their squares would leave float32, and
/// a row whose state has become infinite never learns again.
pub const MAX_GRADIENT: f32 = 1e18;

/// The range of [`is_gradient`], for error messages.
pub const GRADIENT_WORDS: &str = "numbers from -1e18 to 1e18";

/// True for a float that rows can be stepped with; false for NaN, infinities and floats close to
/// them.
#[inline(always)]
pub fn is_gradient(float: f32) -> bool {
    float.abs() <= MAX_GRADIENT
}
