//! Many rows in statements of a few known sizes, each of which stays prepared.

/// A statement and how many rows it takes.
pub(crate) type Statement = (usize, String);

/// A slice in pieces, each with the statement that takes so many; `statements` from the greatest to that of one row.
pub(crate) fn chunks<'a, T>(mut left: &'a [T], statements: &'a [Statement]) -> impl Iterator<Item = (&'a [T], &'a str)> {
    std::iter::from_fn(move || {
        let (size, statement) = statements.iter().find(|(size, _)| *size <= left.len())?;
        let (chunk, rest) = left.split_at(*size);
        left = rest;
        Some((chunk, &**statement))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_piece() {
        let all: Vec<_> = (0..23).collect();
        let statements = [16, 4, 1].map(|size| (size, format!("of {size}")));
        let pieces: Vec<_> = chunks(&all, &statements).map(|(piece, statement)| (piece.len(), statement)).collect();
        assert_eq!(pieces, [(16, "of 16"), (4, "of 4"), (1, "of 1"), (1, "of 1"), (1, "of 1")]);
        assert_eq!(chunks(&all, &statements).flat_map(|(piece, _)| piece).copied().collect::<Vec<_>>(), all);
    }
}
