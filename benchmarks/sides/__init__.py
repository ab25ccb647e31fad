"""The contenders: a file for each library, imported in that library's own process only."""
