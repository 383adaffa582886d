//! Groups in messages.

/// A list of groups, for messages.
pub(super) fn list_groups(groups: impl ExactSizeIterator<Item = u16>) -> String {
    /// More would make the message unreadable.
    const SHOWN: usize = 20;
    let more = groups.len().saturating_sub(SHOWN);
    let list: Vec<String> = groups.take(SHOWN).map(|group| group.to_string()).collect();
    match (list.is_empty(), more) {
        (true, _) => "no groups".to_owned(),
        (_, 0) => format!("groups {}", list.join(", ")),
        _ => format!("groups {} and {more} more", list.join(", ")),
    }
}
