"""The lake: names to paths, atomic commits, raw folded into processed. Knows no source and no tool above it."""
